#!/bin/sh
# Takes out of the image all that belongs to one machine. The last step: nothing may run after it.
# ROOT: folder to work in instead of / (tests).
set -eu
ROOT=${ROOT:-}

fail() { printf 'seal.sh: %s\n' "$*" >&2; exit 1; }
# wipe PATH...: files, and folders with all that is in them. What is only deleted can be read from the image's free
# blocks; discards do not reach those that share a cluster of the image with others.
wipe() {
    for path in "$@"; do
        [ -e "$path" ] || [ -L "$path" ] || continue
        find "$path" -xdev -type f -exec shred -n 0 -z {} +
        rm -rf "$path"
    done
}
# empty FOLDER: all that is in it, hidden files too, but the folder itself stays.
empty() { [ ! -d "$ROOT$1" ] || find "$ROOT$1" -mindepth 1 -xdev -delete 2>/dev/null || true; }

# An identity in the image is no leftover but a mistake: what was deleted may still be on its disk.
for file in /etc/tunnel-agent/agent.toml /etc/tunnel-hub/hub.toml; do
    [ ! -e "$ROOT$file" ] || fail "$file is in the image; no identity may be: build from a clean base"
done
for folder in /var/lib/tunnel-agent /var/lib/tunnel-hub /etc/tunnel-agent/firstboot.d; do
    [ ! -d "$ROOT$folder" ] || [ -z "$(find "$ROOT$folder" -type f)" ] ||
        fail "$folder holds files; no key, token or state may be in the image: build from a clean base"
done

# What still runs must write nothing more: the random seed is saved again when its service stops.
if [ -z "$ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl stop systemd-random-seed.service rsyslog.service syslog.socket >/dev/null 2>&1 || true
    journalctl --relinquish-var >/dev/null 2>&1 || true
fi

# The machine: systemd makes a new id where the file is empty.
wipe "$ROOT/var/lib/dbus/machine-id" "$ROOT/var/lib/systemd/random-seed" "$ROOT/var/lib/systemd/credential.secret"
: >"$ROOT/etc/machine-id"

# Logging in: host keys (ssh-host-keys.service makes new ones), the build's keys and passwords.
wipe "$ROOT"/etc/ssh/ssh_host_*
for home in "$ROOT/root" "$ROOT"/home/*; do
    [ -d "$home" ] || continue
    wipe "$home/.ssh" "$home/.cache" "$home/.gnupg"
    wipe "$home"/.*history "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts" "$home/.sudo_as_admin_successful"
done
for file in "$ROOT/etc/shadow" "$ROOT/etc/shadow-"; do
    [ -f "$file" ] || continue
    cp -p "$file" "$file.sealed"
    sed -E 's/^([^:]*):([^:*][^:]*)?:/\1:!:/' "$file" >"$file.sealed"
    wipe "$file"
    mv "$file.sealed" "$file"
done

# What the build left behind.
wipe "$ROOT"/var/lib/cloud/*
rm -f "$ROOT/etc/network/interfaces.d/50-cloud-init" "$ROOT/etc/netplan/50-cloud-init.yaml" \
    "$ROOT/etc/cloud/cloud.cfg.d/99-installer.cfg"
empty /var/lib/dhcp
empty /var/lib/apt/lists
empty /var/cache/apt
empty /tmp
empty /var/tmp
wipe "$ROOT"/var/log/journal/*
find "$ROOT/var/log" -xdev -type f -exec shred -n 0 -z {} \; -delete
[ -z "$ROOT" ] || exit 0

sync
fstrim / 2>/dev/null || true # where the disk takes no discards the image is larger, and no less clean
sync
