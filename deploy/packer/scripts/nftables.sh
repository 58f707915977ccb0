#!/bin/sh
# Writes /etc/nftables.conf: out go connections to hubs, upstreams, DNS, NTP and what else is named, and nothing more.
# It is loaded when the image boots, not now: packer is still connected.
#
# HUBS, UPSTREAMS, MIRRORS, SSH, INGRESS: "ADDRESS[/PREFIX] PORT" pairs, separated by commas (of SSH and INGRESS the
# address is the peer's); DNS, NTP: addresses, separated by commas.  METADATA=true: root may ask a cloud's metadata
# service.  ROOT: folder to work in instead of / (tests).
set -euf
ROOT=${ROOT:-}
FILE=$ROOT/etc/nftables.conf

fail() { printf 'nftables.sh: %s\n' "$*" >&2; exit 1; }
matches() { printf '%s' "$1" | LC_ALL=C grep -Eqx -- "$2"; }

# ip or ip6 for an address, perhaps with a prefix; a name is refused, as it would be looked up once, at boot.
family() {
    if matches "$1" '((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(/([12]?[0-9]|3[0-2]))?'; then
        echo ip
    elif matches "$1" '[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(/([0-9]{1,2}|1[01][0-9]|12[0-8]))?'; then
        echo ip6
    else
        fail "\"$1\" is not an address; write 203.0.113.10, 10.0.0.0/8 or 2001:db8::1"
    fi
}

# rules DIRECTION PROTOCOLS PORT LIST COMMENT; with PORT "-" each item has its own.
rules() {
    direction=$1 protocols=$2 fixed=$3 list=$4 comment=$5
    case $list in *"
"*) fail "a list of addresses has more than one line" ;; esac
    IFS=,
    for item in $list; do
        IFS=' '
        # shellcheck disable=SC2086 # split on purpose
        set -- $item
        if [ "$fixed" = - ]; then
            [ $# -eq 2 ] || fail "\"$item\" is not an address and a port; write \"203.0.113.10 443\""
            port=$2
        else
            [ $# -eq 1 ] || fail "\"$item\" is not an address"
            port=$fixed
        fi
        matches "$port" '[1-9][0-9]{0,4}' && [ "$port" -le 65535 ] || fail "\"$port\" is not a port"
        family=$(family "$1") || exit 1
        for protocol in $protocols; do
            echo "        $family $direction $1 $protocol dport $port accept comment \"$comment\""
        done
        IFS=,
    done
    unset IFS
}

render() {
    cat <<NFT
#!/usr/sbin/nft -f
# Written when this image was built (deploy/packer). What is not named here is refused.
flush ruleset

table inet tunnel {
    chain in {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        icmp type { echo-request, destination-unreachable, time-exceeded } accept
        icmpv6 type { echo-request, destination-unreachable, packet-too-big, time-exceeded, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
        udp sport 547 udp dport 546 accept comment "DHCPv6"
$ssh_rules
$ingress_rules
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
    chain out {
        type filter hook output priority filter; policy drop;
        oif lo accept
        ct state established,related accept
        icmp type { echo-request, destination-unreachable } accept
        icmpv6 type { destination-unreachable, packet-too-big, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept
        udp sport 68 udp dport 67 accept comment "DHCP"
        udp sport 546 udp dport 547 accept comment "DHCPv6"
$hub_rules
$upstream_rules
$dns_rules
$ntp_rules
$mirror_rules
$metadata_rule
        counter reject with icmpx admin-prohibited
    }
}
NFT
}

metadata() {
    case ${METADATA:-false} in
    true) echo '        ip daddr 169.254.169.254 tcp dport 80 meta skuid 0 accept comment "metadata"' ;;
    false) ;;
    *) fail "METADATA is true or false" ;;
    esac
}

# A list that is refused ends the script here, before anything is written.
ssh_rules=$(rules saddr tcp - "${SSH:-}" ssh)
ingress_rules=$(rules saddr tcp - "${INGRESS:-}" ingress)
hub_rules=$(rules daddr tcp - "${HUBS:-}" hub)
upstream_rules=$(rules daddr tcp - "${UPSTREAMS:-}" upstream)
dns_rules=$(rules daddr "udp tcp" 53 "${DNS:-}" DNS)
ntp_rules=$(rules daddr udp 123 "${NTP:-}" NTP)
mirror_rules=$(rules daddr tcp - "${MIRRORS:-}" mirror)
metadata_rule=$(metadata)
mkdir -p "$(dirname "$FILE")"
render | sed '/^$/d' >"$FILE.new"
chmod 0644 "$FILE.new"
mv "$FILE.new" "$FILE"
[ -z "$ROOT" ] || exit 0

command -v nft >/dev/null || apt-get install -y -qq nftables </dev/null >/dev/null ||
    fail "the base image has no nftables, and no mirror to get it from"
# Where the kernel cannot be asked (a container) the first boot is the check.
if nft list ruleset >/dev/null 2>&1; then nft -c -f "$FILE"; else echo "nftables.sh: not checked by a kernel here"; fi
systemctl enable nftables.service
