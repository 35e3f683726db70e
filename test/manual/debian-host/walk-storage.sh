#!/bin/bash
# Run inside the host, after walk.sh or scripts/install-system.sh: every kind of pool that needs a kernel with modules, with the
# real tools and servers on loopback. Each: define, build, start, refresh, make, fill, copy and delete volumes, a guest that boots
# from one and writes to it, stop, delete. Says what is wrong and goes on; the last line counts.
set -u
. "$(dirname -- "$0")/../expect.sh"
work=/root/storage-walk
mkdir -p $work
try() { # what, command...
  local what=$1 out
  shift
  if out=$("$@" 2>&1); then echo "ok      $what"; else fail "$what: $* : $out"; fi
}
refused() { # what, pattern, command...
  local what=$1 pattern=$2 out
  shift 2
  if out=$("$@" 2>&1); then fail "$what: it went well"; elif grep -Eq "$pattern" <<<"$out"; then echo "ok      $what"; else fail "$what: $out"; fi
}

# A boot sector that writes itself to the disk's second sector by the BIOS and powers off (the i440fx's port 0x604).
printf '\x31\xc0\x8e\xd8\x8e\xc0\xb8\x01\x03\xbb\x00\x7c\xb9\x02\x00\xba\x80\x00\xcd\x13\xba\x04\x06\xb8\x00\x20\xef\xfa\xf4\xeb\xfd' >$work/boot.raw
truncate -s 510 $work/boot.raw
printf '\x55\xaa' >>$work/boot.raw
truncate -s 1M $work/boot.raw

guest() { # pool, volume: it boots from the volume, and what it wrote is there
  local xml=$work/guest.xml
  cat >$xml <<XML
<domain type='kvm'><name>storage-walk</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type machine='pc'>hvm</type><boot dev='hd'/></os>
  <devices><disk type='volume' device='disk'><source pool='$1' volume='$2'/><target dev='hda' bus='ide'/></disk></devices></domain>
XML
  try "$1: a guest is started from $2" vireo define $xml
  try "$1: it starts" vireo start storage-walk
  try "$1: it powers off" vireo wait storage-walk --for shutoff --timeout 3m
  try "$1: its definition goes" vireo undefine storage-walk
  rm -f $work/back
  try "$1: its bytes come back" vireo volume download "$1/$2" $work/back --length 1024
  try "$1: what it wrote is there" cmp -n 512 $work/back $work/back 0 512
}

volumes() { # pool, suffix: make, fill, boot, copy, resize, delete
  local pool=$1
  try "$pool: a volume is made" vireo volume create "$pool/one" 16MiB --format raw
  try "$pool: it is filled" vireo volume upload "$pool/one" $work/boot.raw --offset 0
  guest "$pool" one
  try "$pool: it is copied" vireo volume clone "$pool/one" "$pool/two"
  vireo volume download "$pool/one" $work/one.raw --overwrite >/dev/null
  vireo volume download "$pool/two" $work/two.raw --overwrite >/dev/null
  try "$pool: the copy is the same" cmp $work/one.raw $work/two.raw
  expect "$pool: both are listed" 'two' "$(vireo volume list "$pool" --names)"
  try "$pool: the copy is deleted" vireo volume delete --now -y "$pool/two"
  try "$pool: the volume is deleted" vireo volume delete --now -y "$pool/one"
}

files() { # pool: what pools of files can besides
  try "$1: a qcow2 image is imported" vireo volume import $work/boot.raw --pool "$1" --name disk.qcow2 --source-format raw --format qcow2
  guest "$1" disk.qcow2
  try "$1: a linked clone is made" vireo volume create "$1/linked.qcow2" --backing disk.qcow2
  refused "$1: what lies below it is not deleted" 'linked' vireo volume delete --now -y "$1/disk.qcow2"
  guest "$1" linked.qcow2
  try "$1: both are deleted" vireo volume delete --now -y "$1/linked.qcow2" "$1/disk.qcow2"
}

end() { # pool, delete too?
  try "$1: refreshed" vireo pool refresh "$1"
  try "$1: stopped" vireo pool stop "$1"
  [ -z "${2:-}" ] || try "$1: deleted" vireo pool delete -y "$1"
  try "$1: forgotten" vireo pool undefine "$1"
}

loop() { # size: a loop device of that size
  local file
  file=$(mktemp $work/loop.XXXXXX)
  truncate -s "$1" "$file"
  losetup --show -f "$file"
}

echo "== $(. /etc/os-release && echo "$PRETTY_NAME"), kernel $(uname -r)"
# QEMU is asked what it can once; that takes an emulated processor long.
for _ in 1 2 3; do vireo host capabilities >/dev/null 2>&1 && break; done
expect 'what works here is told' 'logical' "$(vireo pool capabilities)"

echo '== directory'
try 'dir: made' vireo pool create walk-dir /srv/walk-dir --build
volumes walk-dir
files walk-dir
end walk-dir delete

echo '== LVM on a loop device'
device=$(loop 256M)
try 'logical: defined' vireo pool create walk-lvm --type logical --source walkvg --no-start
vireo pool xml walk-lvm | sed "s|<name>walkvg</name>|<device path='$device'/><name>walkvg</name>|" >$work/lvm.xml
try 'logical: with its device' vireo pool define $work/lvm.xml
try 'logical: built' vireo pool build walk-lvm
try 'logical: started' vireo pool start walk-lvm
expect 'logical: LVM has it' walkvg "$(vgs --noheadings -o vg_name)"
expect 'logical: found as a source' walkvg "$(vireo pool find-sources logical)"
volumes walk-lvm
end walk-lvm delete
expect 'logical: LVM has it no more' '^$' "$(vgs --noheadings -o vg_name walkvg 2>/dev/null)"
losetup -d "$device"

echo '== partitions of a loop device'
device=$(loop 256M)
try 'disk: defined' vireo pool create walk-disk /dev --type disk --source "$device" --format gpt --no-start
try 'disk: built' vireo pool build walk-disk
try 'disk: started' vireo pool start walk-disk
try 'disk: a volume is made' virsh -q vol-create-as walk-disk "$(basename "$device")p1" 16MiB
part=$(vireo volume list walk-disk --names | head -1)
try 'disk: it is filled' vireo volume upload "walk-disk/$part" $work/boot.raw --offset 0
guest walk-disk "$part"
try 'disk: it is deleted' vireo volume delete --now -y "walk-disk/$part"
end walk-disk delete
losetup -d "$device"

echo '== file systems of a loop device'
for format in ext4 xfs btrfs; do
  device=$(loop 640M)
  pool=walk-$format
  try "fs: defined ($format)" vireo pool create $pool /srv/$pool --type fs --source "$device" --format $format --no-start
  try "fs: built ($format)" vireo pool build --overwrite -y $pool
  try "fs: started ($format)" vireo pool start $pool
  expect "fs: it is mounted ($format)" "$format" "$(findmnt -n -o FSTYPE /srv/$pool)"
  volumes $pool
  files $pool
  if [ $format != ext4 ]; then
    # The same blocks: time does not follow from size, and no space is taken.
    for mib in 16 256; do
      dd if=/dev/urandom of=$work/data bs=1M count=$mib 2>/dev/null
      vireo volume upload $pool/data$mib.raw $work/data --format raw >/dev/null
      before=$(df --output=used -k /srv/$pool | tail -1)
      start=$(date +%s%N)
      vireo volume clone $pool/data$mib.raw $pool/copy$mib.raw >/dev/null || fail "fs: clone of $mib MiB on $format"
      stop=$(date +%s%N)
      sync -f /srv/$pool
      after=$(df --output=used -k /srv/$pool | tail -1)
      echo "        clone of $mib MiB on $format: $(((stop - start) / 1000000)) ms with the command line, $((after - before)) KiB more are used"
      [ $((after - before)) -lt 4096 ] || fail "fs: the clone on $format took $((after - before)) KiB"
      cmp -s /srv/$pool/data$mib.raw /srv/$pool/copy$mib.raw || fail "fs: the clone on $format differs"
    done
  fi
  try "fs: stopped ($format)" vireo pool stop $pool
  expect "fs: it is not mounted any more ($format)" '^$' "$(findmnt -n -o FSTYPE /srv/$pool)"
  try "fs: forgotten ($format)" vireo pool undefine $pool
  losetup -d "$device"
done

echo '== NFS on loopback'
mkdir -p /srv/export /etc/exports.d
echo '/srv/export 127.0.0.1(rw,no_root_squash,insecure,fsid=7)' >/etc/exports.d/walk.exports
systemctl start nfs-server && exportfs -ra
expect 'netfs: found as a source' /srv/export "$(vireo pool find-sources netfs - <<<"<source><host name='127.0.0.1'/></source>")"
try 'netfs: made' vireo pool create walk-nfs /srv/walk-nfs --type netfs --source 127.0.0.1:/srv/export --build
expect 'netfs: it is mounted' nfs "$(findmnt -n -o FSTYPE /srv/walk-nfs)"
volumes walk-nfs
files walk-nfs
end walk-nfs
rm /etc/exports.d/walk.exports
exportfs -ra
systemctl stop nfs-server

echo '== NFS with root squashed: QEMU gets its descriptors, so that the daemon alone must be let in'
echo '/srv/export 127.0.0.1(rw,root_squash,insecure,fsid=7)' >/etc/exports.d/walk.exports
chmod 1777 /srv/export
systemctl start nfs-server && exportfs -ra
try 'squashed: made' vireo pool create walk-squash /srv/walk-squash --type netfs --source 127.0.0.1:/srv/export --build
volumes walk-squash
files walk-squash
end walk-squash
rm /etc/exports.d/walk.exports
exportfs -ra
systemctl stop nfs-server

echo '== CIFS on loopback'
mkdir -p /srv/share && chmod 777 /srv/share
cat >/etc/samba/smb.conf <<CONF
[global]
  map to guest = Bad User
  guest account = root
  bind interfaces only = yes
  interfaces = lo
[share]
  path = /srv/share
  guest ok = yes
  read only = no
  force user = root
CONF
systemctl start smbd
try 'cifs: made' vireo pool create walk-cifs /srv/walk-cifs --type netfs --format cifs --source 127.0.0.1:/share --build
expect 'cifs: it is mounted' cifs "$(findmnt -n -o FSTYPE /srv/walk-cifs)"
volumes walk-cifs
files walk-cifs
end walk-cifs
systemctl stop smbd

echo '== iSCSI on loopback'
truncate -s 64M $work/lun.raw
systemctl start tgt
# The daemon's unit may not load modules.
modprobe iscsi_tcp
target=iqn.2026-11.test.walk:disk
tgtadm --lld iscsi --op new --mode target --tid 7 -T $target
tgtadm --lld iscsi --op new --mode logicalunit --tid 7 --lun 1 -b $work/lun.raw
tgtadm --lld iscsi --op bind --mode target --tid 7 -I ALL
expect 'iscsi: found as a source' "$target" "$(vireo pool find-sources iscsi - <<<"<source><host name='127.0.0.1'/></source>")"
cat >$work/iscsi.xml <<XML
<pool type='iscsi'><name>walk-iscsi</name><source><host name='127.0.0.1'/><device path='$target'/></source>
  <target><path>/dev/disk/by-path</path></target></pool>
XML
try 'iscsi: defined' vireo pool define $work/iscsi.xml
try 'iscsi: started' vireo pool start walk-iscsi
unit=$(vireo volume list walk-iscsi --names | head -1)
expect 'iscsi: a unit is there' 'unit' "$unit"
try 'iscsi: it is filled' vireo volume upload "walk-iscsi/$unit" $work/boot.raw --offset 0
guest walk-iscsi "$unit"
refused 'iscsi: a volume cannot be made here' 'server' vireo volume create walk-iscsi/new 1MiB --format raw
end walk-iscsi
expect 'iscsi: the session is over' 'No active sessions' "$(iscsiadm --mode session 2>&1)"
tgtadm --lld iscsi --op delete --force --mode target --tid 7
systemctl stop tgt

expect 'no pool is left' '^$' "$(vireo pool list | grep walk-)"
rm -rf $work
tell_end
