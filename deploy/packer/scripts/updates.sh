#!/bin/sh
# Whether machines of this image install Debian's security updates by themselves.
# UNATTENDED_UPGRADES: true or false.  ROOT: folder to work in instead of / (tests).
set -eu
ROOT=${ROOT:-}
FILE=$ROOT/etc/apt/apt.conf.d/60tunnel-updates

case ${UNATTENDED_UPGRADES:-} in
true) answer=1 ;;
false) answer=0 ;;
*) echo "updates.sh: UNATTENDED_UPGRADES is true or false" >&2; exit 1 ;;
esac
mkdir -p "$(dirname "$FILE")"
cat >"$FILE" <<CONF
// Written when this image was built (deploy/packer).
APT::Periodic::Update-Package-Lists "$answer";
APT::Periodic::Unattended-Upgrade "$answer";
Unattended-Upgrade::Automatic-Reboot "false";
CONF
[ -z "$ROOT" ] || exit 0

if [ "$answer" = 1 ]; then
    export DEBIAN_FRONTEND=noninteractive
    dpkg -s unattended-upgrades >/dev/null 2>&1 ||
        apt-get install -y -qq --no-install-recommends unattended-upgrades </dev/null >/dev/null || {
        echo "updates.sh: the base image has no unattended-upgrades, and no mirror to get it from" >&2
        exit 1
    }
    systemctl enable apt-daily.timer apt-daily-upgrade.timer
else
    systemctl mask apt-daily.timer apt-daily-upgrade.timer
fi
