#!/bin/sh
# Virtual functions of a network card, tried for real: guests on a network of mode hostdev get one each, with MAC address and
# VLAN set by the card's physical function, and all is put back. As root, on a host with an IOMMU and a card whose interface
# CARD has at least two functions made (see README.md for an emulated one).
set -u
repository=$(cd "$(dirname "$0")/../../.." && pwd)
root=${ROOT:-/var/tmp/vireo-functions-walk}
failed=0
ok() { echo "ok: $*"; }
bad() { echo "FAILED: $*"; failed=$((failed + 1)); }
vireo() { "$repository/bin/vireo" --root "$root" "$@"; }
CARD=${CARD:?the interface of the physical function}
function0=$(basename "$(readlink "/sys/class/net/$CARD/device/virtfn0")")
driver() { basename "$(readlink "/sys/bus/pci/devices/$1/driver" || echo none)"; }
before=$(driver "$function0")
settings() { ip link show "$CARD" | grep "vf $1 "; }
was0=$(settings 0)

mkdir -p "$root/etc/vireo"
printf '[qemu]\nprobe_timeout_seconds = 200\nstart_timeout_seconds = 200\ncommand_timeout_seconds = 100\n[network]\ndefine_default = false\n' > "$root/etc/vireo/vireod.toml"
"$repository/bin/vireod" --mode system --root "$root" > "$root/out" 2>&1 &
daemon=$!
for _ in $(seq 120); do grep -q 'vireod ready' "$root/out" && break; sleep 1; done

cat <<XML > "$root/fast.xml"
<network><name>fast</name><forward mode='hostdev' managed='yes'><pf dev='$CARD'/></forward><vlan><tag id='42'/></vlan></network>
XML
vireo network define "$root/fast.xml" && vireo network start fast && ok 'the network is up' || bad 'the network is not up'
guest() {
  cat <<XML > "$root/$1.xml"
<domain type='${TYPE:-qemu}'><name>$1</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><interface type='network'><mac address='$2'/><source network='fast'/><model type='virtio'/></interface><memballoon model='none'/></devices></domain>
XML
  vireo domain define "$root/$1.xml" > /dev/null
}
guest one 52:54:00:12:34:01
vireo domain start --paused one && ok 'the guest was started' || bad 'the guest did not start'
vireo domain xml one | grep -A8 '<interface'
vireo domain xml one | grep -q "<interface type='hostdev' managed='yes'>" && ok 'the running definition names the function' || bad 'it does not'
settings 0 | grep -q '52:54:00:12:34:01.*vlan 42' && ok "address and VLAN are set: $(settings 0)" || bad "not set: $(settings 0)"
[ "$(driver "$function0")" = vfio-pci ] && ok 'vfio-pci has it' || bad "$(driver "$function0") has it"
vireo host devices --type pci | grep ' one' || bad 'the list does not tell who has it'
vireo domain destroy one
sleep 1
[ "$(driver "$function0")" = "$before" ] && ok "$before has it again" || bad "$(driver "$function0") has it"
now=$(settings 0)
[ "$now" = "$was0" ] && ok "settings as before: $now" || echo "note: before $was0, now $now"
echo "$now" | grep -q 'vlan' && bad 'the VLAN is still set' || ok 'the VLAN is gone'

# Plugged into a running guest; the daemon is killed meanwhile, and the next one puts all back.
cat <<XML > "$root/bare.xml"
<domain type='${TYPE:-qemu}'><name>bare</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><controller type='pci' model='pcie-root-port'/><controller type='pci' model='pcie-root-port'/><memballoon model='none'/></devices></domain>
XML
echo "<interface type='network'><mac address='52:54:00:12:34:02'/><source network='fast'/><model type='virtio'/></interface>" > "$root/nic.xml"
vireo domain define "$root/bare.xml" > /dev/null
vireo domain start --paused bare
vireo domain attach bare "$root/nic.xml" && ok 'plugged' || bad 'not plugged'
settings 0 | grep -q '52:54:00:12:34:02.*vlan 42' && ok "address and VLAN are set: $(settings 0)" || bad "not set: $(settings 0)"
kill -9 "$daemon"
"$repository/bin/vireod" --mode system --root "$root" > "$root/out" 2>&1 &
daemon=$!
for _ in $(seq 120); do grep -q 'vireod ready' "$root/out" && break; sleep 1; done
vireo domain xml bare | grep -q "<interface type='hostdev'" && ok 'the next daemon knows it' || bad 'it is not known'
vireo domain destroy bare
sleep 1
[ "$(driver "$function0")" = "$before" ] && ok "$before has it again" || bad "$(driver "$function0") has it"
settings 0 | grep -q 'vlan' && bad 'the VLAN is still set' || ok 'the VLAN is gone'
kill "$daemon"
wait "$daemon"
tail -n 5 "$root/out"
echo "$failed failed"
exit "$failed"
