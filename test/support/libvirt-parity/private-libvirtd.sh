#!/bin/bash
# Runs one command beside a private libvirtd (qemu:///system) and leaves nothing behind:
#   private-libvirtd.sh STATE-DIR COMMAND [ARG...]
# Mounts, links, processes and IPC are in namespaces of their own, the daemon's directories are covered by ones below
# STATE-DIR, and /dev has no kvm node. The exit status is the command's; 125 when the daemon could not be started.
set -u
die() { echo "private-libvirtd: $*" >&2; exit 125; }

if [ "${parity_stage:-}" != inner ]; then
  [ "$(id -u)" = 0 ] || die 'needs root'
  mkdir -p "$1" || die "cannot make $1"
  parity_stage=inner exec unshare --mount --net --ipc --uts --pid --fork --kill-child=KILL \
    --propagation private -- /bin/bash "$(readlink -f "$0")" "$@"
fi

export -n parity_stage
state=$(cd "$1" && pwd) || exit 125
shift
mount -t proc proc /proc || die 'cannot mount /proc'
# A new sysfs has no cgroup mounts below it: the daemon leaves the machine's cgroups alone.
mount -t sysfs sysfs /sys || die 'cannot mount /sys'
ip link set lo up

mount -t tmpfs -o mode=755 parity-dev "$state" || die 'cannot mount a tmpfs'
mkdir "$state/dev"
for node in null zero full random urandom tty; do
  touch "$state/dev/$node" && mount --bind "/dev/$node" "$state/dev/$node"
done
mkdir "$state/dev/pts" "$state/dev/shm" "$state/dev/net"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 parity-pts "$state/dev/pts" || die 'cannot mount pseudo terminals'
ln -s pts/ptmx "$state/dev/ptmx"
mount -t tmpfs parity-shm "$state/dev/shm"
[ ! -e /dev/net/tun ] || { touch "$state/dev/net/tun" && mount --bind /dev/net/tun "$state/dev/net/tun"; }
ln -s /proc/self/fd "$state/dev/fd"
mount --rbind "$state/dev" /dev || die 'cannot cover /dev'

# The bare daemon brings neither its directories nor its user; what is made for it here goes again at the end.
made=()
remove_made() {
  for directory in "${made[@]}"; do umount -l "$directory"; rmdir "$directory"; done
}
trap remove_made EXIT

cover() { # cover DIR: a private, empty directory over it
  [ -d "$1" ] || { mkdir "$1" && made+=("$1"); } || die "cannot make $1"
  mkdir -p "$state/over$1"
  mount --bind "$state/over$1" "$1" || die "cannot cover $1"
}
for directory in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /run; do cover "$directory"; done
mkdir -p /run/lock /run/libvirt
add_line() { # add_line TABLE LINE: to a private copy of the table, unless it knows libvirt-qemu
  getent "$1" libvirt-qemu >/dev/null && return 0
  { cat "/etc/$1"; echo "$2"; } >"$state/$1"
  mount --bind "$state/$1" "/etc/$1" || die "cannot cover /etc/$1"
}
add_line passwd 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin'
add_line group 'libvirt-qemu:x:64055:'
cat >/etc/libvirt/qemu.conf <<CONF
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
remember_owner = 0
user = "root"
group = "root"
CONF
cat >"$state/libvirtd.conf" <<CONF
auth_unix_ro = "none"
auth_unix_rw = "none"
log_level = 3
log_outputs = "3:file:$state/libvirtd.log"
CONF

export LIBVIRT_DEFAULT_URI=qemu:///system LC_ALL=C
libvirtd --config "$state/libvirtd.conf" >"$state/libvirtd.out" 2>&1 &
daemon=$!
for _ in $(seq 300); do
  [ -S /run/libvirt/libvirt-sock ] && virsh -q uri >/dev/null 2>&1 && break
  kill -0 "$daemon" 2>/dev/null || { cat "$state/libvirtd.out" >&2; die 'the daemon did not come up'; }
  sleep 0.1
done
virsh -q uri >/dev/null || die 'the daemon does not answer'
"$@"
