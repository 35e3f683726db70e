#!/bin/sh
# Boots the disk of make-host.sh in QEMU without KVM, with an emulated processor that has AMD-V, an IOMMU, a PCI card and a USB
# disk to give away, and two empty disks. Ends with Ctrl-C or `poweroff` inside.
#
#   sh run-host.sh DIRECTORY [PORT]      then: ssh -i DIRECTORY/key -p PORT root@127.0.0.1     (port 2299)
set -eu
cd "$1"
port=${2:-2299}
for disk in data1 data2; do [ -f $disk.img ] || truncate -s 2G $disk.img; done
[ -f usb.img ] || truncate -s 64M usb.img
exec qemu-system-x86_64 -name lab-host -machine q35 -cpu max -accel tcg,thread=multi -smp 2 -m 6144 -nodefaults -no-user-config \
  -kernel vmlinuz -initrd initrd -append 'root=/dev/vda rw console=ttyS0 intel_iommu=on mitigations=off' \
  -device intel-iommu,intremap=on,caching-mode=on \
  -drive file=host.img,format=raw,if=none,id=root,cache=unsafe -device virtio-blk-pci,drive=root \
  -drive file=data1.img,format=raw,if=none,id=d1 -device virtio-blk-pci,drive=d1,serial=data1 \
  -drive file=data2.img,format=raw,if=none,id=d2 -device virtio-blk-pci,drive=d2,serial=data2 \
  -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=n0 \
  -device pcie-root-port,id=rp1,chassis=1 -netdev user,id=n1,restrict=on -device e1000e,netdev=n1,bus=rp1 \
  -device qemu-xhci,id=xhci -drive file=usb.img,format=raw,if=none,id=u1 -device usb-storage,bus=xhci.0,drive=u1,serial=LABUSB1 \
  -device virtio-rng-pci -display none -serial file:console.log -pidfile qemu.pid
