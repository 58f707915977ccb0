#!/bin/sh
# Writes what this image is made of, as JSON, into the image; packer fetches a copy.
# BAKE, ROLE: as for install.sh.  BASE: name of the base image.
set -eu
FILE=/usr/share/tunnel-image/manifest.json

text() { printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"; }
lines() { sed '$!s/$/,/; s/^/    /'; }

hashes() {
    for file in /etc/nftables.conf /etc/apt/apt.conf.d/60tunnel-updates /usr/libexec/tunnel-agent-firstboot \
        /etc/systemd/system/tunnel-agent-firstboot.service "$(systemctl show -P FragmentPath "tunnel-$ROLE.service")"; do
        [ ! -f "$file" ] || echo "$(text "$file"): $(text "$(sha256sum <"$file" | cut -d ' ' -f 1)")"
    done
}

set -- "$BAKE"/*.deb
mkdir -p "$(dirname "$FILE")"
cat >"$FILE" <<JSON
{
  "role": $(text "$ROLE"),
  "built": $(text "$(date -u +%Y-%m-%dT%H:%M:%SZ)"),
  "base": $(text "${BASE:-}"),
  "system": $(text "$(. /etc/os-release && echo "$PRETTY_NAME")"),
  "package": {
    "name": $(text "$(dpkg-deb -f "$1" Package)"),
    "version": $(text "$(dpkg-deb -f "$1" Version)"),
    "sha256": $(text "$(sha256sum <"$1" | cut -d ' ' -f 1)")
  },
  "files": {
$(hashes | lines)
  },
  "packages": {
$(dpkg-query -W -f '"${binary:Package}": "${Version}"\n' | lines)
  }
}
JSON
chmod 0644 "$FILE"
