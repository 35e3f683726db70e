#!/bin/sh
# Makes the disk of a Debian that real cloud-init sets up at its first start, with kernel and initrd beside it.
#
#   sh cloud-init-image.sh DIRECTORY [bookworm|trixie]
#
# Needs root, mmdebstrap and e2fsprogs. Some two minutes and 2 GiB. cloud-init.sh then starts it.
set -eu
directory=$1
suite=${2:-bookworm}
packages=systemd-sysv,udev,dbus,kmod,linux-image-cloud-amd64,iproute2,openssh-server,cloud-init,netplan.io,systemd-resolved,sudo,e2fsprogs,locales
. "$(dirname -- "$0")/debian-image.sh"
debian_root "$directory" "$suite" "$packages"
printf '/dev/vda / ext4 errors=remount-ro 0 1\n' >"$root/etc/fstab"
printf 'datasource_list: [ NoCloud, None ]\nlocale: C.UTF-8\n' >"$root/etc/cloud/cloud.cfg.d/90_datasource.cfg"
rm -f "$root/etc/machine-id" "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
chroot "$root" systemctl enable systemd-networkd serial-getty@ttyS0
debian_disk "$directory" disk.img 2G
