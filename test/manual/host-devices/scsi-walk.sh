#!/bin/sh
# SCSI devices of the host, tried for real on a disk that the kernel makes up (scsi_debug): a guest boots from it through
# scsi-generic, a second one may not have it, it is plugged into a guest and out again. As root, where the modules sg and
# scsi_debug can be loaded, or are loaded; with --modules DIR they are taken from there (see README.md).
set -u
repository=$(cd "$(dirname "$0")/../../.." && pwd)
root=${ROOT:-/var/tmp/vireo-scsi-walk}
failed=0
ok() { echo "ok: $*"; }
bad() { echo "FAILED: $*"; failed=$((failed + 1)); }
vireo() { "$repository/bin/vireo" --root "$root" "$@"; }
load() {
  grep -q "^$1 " /proc/modules && return 0
  if [ -n "${modules:-}" ]; then
    file=$(find "$modules" -name "$1.ko" | head -n 1)
    [ -z "$file" ] || insmod "$file" $2 || echo "insmod $1: $?"
  else
    modprobe "$1" $2
  fi
}
[ "${1:-}" = --modules ] && modules=$2

for one in scsi_common scsi_mod crct10dif_common crct10dif_generic crc-t10dif crc64 crc64-rocksoft t10-pi sd_mod sg; do load $one ''; done
load scsi_debug 'dev_size_mb=8 num_tgts=1 max_luns=2'
sleep 2
place=$(cd /sys/bus/scsi/drivers/sd 2>/dev/null && ls -d [0-9]*:0 | head -n 1)
[ -n "$place" ] || { echo "FAILED: no SCSI disk appeared"; exit 1; }
host=${place%%:*}
disk=/dev/$(ls "/sys/bus/scsi/devices/$place/block")
# A boot sector: prints a line on the first serial port, and powers a machine of type pc off by its ACPI port.
printf '\372\061\300\216\330\276\035\174\254\204\300\164\006\272\370\003\356\353\365\272\004\006\270\000\040\357\364\353\375SCSI-GUEST alive\r\n\000' > /tmp/boot.bin
dd if=/tmp/boot.bin of="$disk" conv=fsync 2>/dev/null
printf '\125\252' | dd of="$disk" bs=1 seek=510 conv=fsync 2>/dev/null

mkdir -p "$root/etc/vireo"
printf '[qemu]\nprobe_timeout_seconds = 200\nstart_timeout_seconds = 200\ncommand_timeout_seconds = 100\n[network]\ndefine_default = false\n' > "$root/etc/vireo/vireod.toml"
"$repository/bin/vireod" --mode system --root "$root" > "$root/out" 2>&1 &
daemon=$!
for _ in $(seq 120); do grep -q 'vireod ready' "$root/out" && break; sleep 1; done

hostdev() { echo "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host$host'/><address bus='0' target='0' unit='$1'/></source>$2</hostdev>"; }
guest() {
  cat <<XML > "$root/$1.xml"
<domain type='${TYPE:-qemu}'><name>$1</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><controller type='scsi' index='0' model='virtio-scsi'/>$2
<serial type='file'><source path='$root/$1.log'/></serial><memballoon model='none'/></devices></domain>
XML
  vireo domain define "$root/$1.xml" > /dev/null
}
guest one "$(hostdev 0 "<boot order='1'/>")"
guest two "$(hostdev 0 '')"
guest three ''
vireo host devices --type scsi
vireo domain start --paused one && ok 'a guest with the disk was started' || bad 'the guest did not start'
node=/dev/$(ls "/sys/bus/scsi/devices/$place/scsi_generic")
pid=$(pgrep -f 'guest=one' | head -n 1)
[ -n "$pid" ] && ls -l "/proc/$pid/fd" | grep -q "$node" && ok "QEMU (user $(stat -c %u "/proc/$pid")) has $node open" || bad "QEMU has not $node open"
ls -l "$node"
vireo domain start two > "$root/two.out" 2>&1 && bad 'a second guest got it' || { grep -q "in use by domain 'one'" "$root/two.out" && ok 'a second guest is refused' || cat "$root/two.out"; }
vireo host devices --type scsi | grep -q ' one' && ok 'the list tells who has it' || bad 'the list does not tell'
vireo domain resume one
vireo domain wait --for shutoff --timeout 200s one
grep -q 'SCSI-GUEST alive' "$root/one.log" && ok 'the guest booted from the disk' || bad "the guest said: $(cat "$root/one.log")"
ls -l "$node" | grep -q '^[^ ]*+' && bad 'the ACL is still there' || ok 'the ACL is gone'
vireo domain start --paused three
hostdev 1 '<shareable/>' > "$root/plug.xml"
vireo domain attach three "$root/plug.xml" && ok 'plugged' || bad 'not plugged'
vireo domain xml three | grep -A8 '<hostdev'
vireo domain detach three hostdev0 && ok 'taken out' || bad 'not taken out'
vireo host devices --type scsi | grep -q ' three' && bad 'still taken' || ok 'the host has it again'
mount_at=$(mktemp -d)
mkfs.ext4 -q "/dev/$(ls "/sys/bus/scsi/devices/${place%:*}:1/block")" && mount "/dev/$(ls "/sys/bus/scsi/devices/${place%:*}:1/block")" "$mount_at" && {
  vireo domain attach three "$root/plug.xml" > "$root/mounted.out" 2>&1 && bad 'a mounted disk was given' || { grep -q 'mounted at' "$root/mounted.out" && ok 'a mounted disk is refused' || cat "$root/mounted.out"; }
  umount "$mount_at"
}
vireo domain destroy three
kill "$daemon"
wait "$daemon"
echo "$failed failed"
exit "$failed"
