#!/bin/sh
# Makes the disk of a Debian with its own guest agent, and kernel and initrd beside it; guest-agent.sh then starts it.
#
#   sh guest-agent-image.sh DIRECTORY [bookworm|trixie]
#
# Needs root, mmdebstrap and e2fsprogs. Some two minutes and 2 GiB.
set -eu
directory=$1
suite=${2:-bookworm}
packages=systemd-sysv,udev,dbus,kmod,linux-image-cloud-amd64,qemu-guest-agent,passwd,util-linux-extra,e2fsprogs
. "$(dirname -- "$0")/debian-image.sh"
debian_root "$directory" "$suite" "$packages"
printf '/dev/vda / ext4 discard,errors=remount-ro 0 1\n' >"$root/etc/fstab"
printf 'agent-guest\n' >"$root/etc/hostname"
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/20-cards.network"
chroot "$root" systemctl enable systemd-networkd serial-getty@ttyS0
chroot "$root" useradd -m ann
debian_disk "$directory" disk.img 2G
