#!/bin/sh
# Installs the .deb, and for an agent what runs at first boot.
# BAKE: folder with what packer sent.  ROLE: agent or hub.
set -eu
export DEBIAN_FRONTEND=noninteractive

set -- "$BAKE"/*.deb
[ "$#" -eq 1 ] && [ -f "$1" ] || { echo "install.sh: $BAKE must hold one .deb" >&2; exit 1; }
name=$(dpkg-deb -f "$1" Package)
[ "$name" = "tunnel-$ROLE" ] || { echo "install.sh: $1 is the package $name, not tunnel-$ROLE" >&2; exit 1; }

# A closed data centre has no mirror: only what is missing on the base image is fetched.
apt-get install -y -qq --no-install-recommends "$1" </dev/null >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$1" </dev/null
}

if [ "$ROLE" = agent ]; then
    install -D -m 0755 "$BAKE/firstboot/tunnel-agent-firstboot" /usr/libexec/tunnel-agent-firstboot
    install -D -m 0644 -t /etc/systemd/system "$BAKE/firstboot/tunnel-agent-firstboot.service"
    install -d -m 0700 /etc/tunnel-agent/firstboot.d
    systemctl enable tunnel-agent-firstboot.service
fi
if command -v sshd >/dev/null; then
    install -D -m 0644 -t /etc/systemd/system "$BAKE/firstboot/ssh-host-keys.service"
    systemctl enable ssh-host-keys.service
fi
systemctl enable "tunnel-$ROLE.service"
