#!/usr/bin/env bash
# Installs Debian's servers for the differential run where that is possible; says what is left out where it is not.
set -euo pipefail

missing=()
for package in nginx-light apache2 lighttpd lighttpd-mod-magnet haproxy h2o; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "left out, because only root can install them with apt-get: ${missing[*]}"
    exit 0
fi
# Nothing is started: the run starts its own processes, on ports of its own.
printf '#!/bin/sh\nexit 101\n' >/tmp/policy-rc.d
if [ ! -e /usr/sbin/policy-rc.d ]; then
    install -m 755 /tmp/policy-rc.d /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
