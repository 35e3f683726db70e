#!/bin/busybox sh
# First process of the lab's guest, in the initramfs: loads modules, mounts the host's root, goes there.
/bin/busybox --install -s /bin
export PATH=/bin
die() { echo "kvm-lab: $*" >/dev/kmsg; poweroff -f; }
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
  insmod "/modules/$module.ko" || echo "kvm-lab: module $module did not load" >/dev/kmsg
done </modules/order
# The host's root, read-only, below a layer in memory that takes all writes.
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose hostroot /lower || die "no root share"
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root || die "no overlay"
for dir in proc sys dev; do
  mkdir -p /root/$dir
  mount --move /$dir /root/$dir
done
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir /root/run/kvm-lab /root/run/lock
cp /bin/busybox /second.sh /command.sh /shares /root/run/kvm-lab/
exec switch_root /root /run/kvm-lab/busybox sh /run/kvm-lab/second.sh
