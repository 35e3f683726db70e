#!/bin/sh
# Makes the disk of a whole Debian with systemd as its first process, QEMU, libvirt's clients and this project in it.
#
#   sh make-host.sh DIRECTORY [bookworm|trixie]
#
# Needs root, mmdebstrap, e2fsprogs, ssh-keygen and the project's packages (npm ci). Some five minutes and 8 GiB at most.
set -eu
directory=$1
suite=${2:-bookworm}
project=$(cd -P -- "$(dirname -- "$0")/../../.." && pwd)
packages=systemd-sysv,udev,dbus,kmod,linux-image-amd64,iproute2,iputils-ping,openssh-server,ca-certificates,curl,python3-minimal
packages=$packages,procps,less,pciutils,usbutils,util-linux,qemu-system-x86,qemu-utils,ovmf,swtpm,dnsmasq-base,nftables,iptables
packages=$packages,libvirt-clients,libnss-libvirt,lvm2,parted,fdisk,xfsprogs,btrfs-progs,e2fsprogs,nfs-kernel-server,nfs-common,tgt
packages=$packages,open-iscsi,samba,cifs-utils,busybox-static,acl,polkitd
. "$(dirname -- "$0")/../debian-image.sh"
debian_root "$directory" "$suite" "$packages"
[ -f "$directory/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$directory/key"
mkdir -p -m 700 "$root/root/.ssh"
install -m 600 "$directory/key.pub" "$root/root/.ssh/authorized_keys"
echo lab >"$root/etc/hostname"
printf '127.0.0.1 localhost lab\n' >"$root/etc/hosts"
printf '/dev/vda / ext4 errors=remount-ro 0 1\n' >"$root/etc/fstab"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/20-dhcp.network"
chroot "$root" systemctl enable systemd-networkd ssh serial-getty@ttyS0
# What nobody here asks for and an emulated processor is long busy with.
chroot "$root" systemctl disable nfs-server smbd nmbd tgt apt-daily.timer apt-daily-upgrade.timer || true
chroot "$root" useradd -m -s /bin/bash user
mkdir "$root/root/vireo"
(cd "$project" && tar -cf - --exclude=./.git --exclude=./node_modules --exclude=./dist .) | tar -C "$root/root/vireo" -xf -
cp -RL "$project/node_modules" "$root/root/vireo/node_modules"
debian_disk "$directory" host.img 8G
echo "next: sh $(dirname -- "$0")/run-host.sh $directory"
