#!/bin/bash
# A desk of its own for programs with a screen: Vireo in libvirtd's place on a private host, and an ordinary user before
# an X server, with a session bus and AT-SPI. Runs one command as that user and leaves nothing behind.
#   desk.sh STATE-DIR COMMAND [ARG...]
# Mounts, links, processes and IPC are in namespaces of their own; /run, /etc/{vireo,libvirt}, /var/lib/{vireo,libvirt}
# and so on are covered by directories below STATE-DIR, /etc/passwd and /etc/group by copies that know the user `desk`.
# The command finds a display, LIBVIRTD_PATH, and in its home Downloads/isos/little.iso, a copy of the file DESK_ISO.
# The exit status is the command's; 125 when the desk could not be made.
set -u
die() { echo "desk: $*" >&2; exit 125; }

if [ "${desk_stage:-}" != inner ]; then
  [ "$(id -u)" = 0 ] || die 'needs root'
  for program in Xvfb dbus-run-session unshare setpriv virt-manager xorriso; do
    command -v "$program" >/dev/null || die "there is no $program; README.md beside this file names the packages"
  done
  mkdir -p "$1" || die "cannot make $1"
  [ -f "${DESK_ISO:-}" ] || die 'DESK_ISO is to name a disc; make-iso.ts makes one'
  desk_stage=inner exec unshare --mount --net --ipc --uts --pid --fork --kill-child=KILL \
    --propagation private -- /bin/bash "$(readlink -f "$0")" "$@"
fi
export -n desk_stage
here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../../..")
state=$(cd "$1" && pwd) || exit 125
shift
uid=64996
home=$state/home

mount -t proc proc /proc || die 'cannot mount /proc'
# A new sysfs has no cgroup mounts below it: the machine's cgroups are left alone.
mount -t sysfs sysfs /sys || die 'cannot mount /sys'
ip link set lo up
# Networks that forward look for a way out.
ip link add up0 type veth peer name up1 && ip addr add 192.0.2.2/24 dev up0 && ip link set up0 up && ip link set up1 up &&
  ip route add default via 192.0.2.1 || die 'cannot make links'

private_dev() { # without a kvm node: tests must not depend on one
  mkdir -p "$state/dev"
  mount -t tmpfs -o mode=755 desk-dev "$state/dev" || die 'cannot mount a tmpfs'
  mkdir "$state/dev/pts" "$state/dev/shm" "$state/dev/net"
  for node in null zero full random urandom tty; do
    touch "$state/dev/$node" && mount --bind "/dev/$node" "$state/dev/$node"
  done
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 desk-pts "$state/dev/pts" || die 'cannot mount pseudo terminals'
  ln -s pts/ptmx "$state/dev/ptmx"
  mount -t tmpfs desk-shm "$state/dev/shm"
  [ ! -e /dev/net/tun ] || { touch "$state/dev/net/tun" && mount --bind /dev/net/tun "$state/dev/net/tun"; }
  ln -s /proc/self/fd "$state/dev/fd"
  mount --rbind "$state/dev" /dev || die 'cannot cover /dev'
}

made=()
remove_made() {
  for directory in "${made[@]}"; do umount -l "$directory"; rmdir "$directory"; done
}
cover() { # cover DIR: a private, empty directory over it
  [ -d "$1" ] || { mkdir -p "$1" && made+=("$1"); } || die "cannot make $1"
  mkdir -p "$state/over$1"
  mount --bind "$state/over$1" "$1" || die "cannot cover $1"
}
private_host() {
  for kind in etc/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt etc/vireo var/lib/vireo var/log/vireo \
    var/cache/vireo run; do
    cover "/$kind"
  done
  mkdir -p -m 1777 /run/lock /tmp/.X11-unix
  { grep -v '^desk:' /etc/passwd; echo "desk:x:$uid:$uid:Desk:$home:/bin/bash"; } >"$state/passwd"
  { grep -v '^desk:\|^libvirt:' /etc/group; printf 'desk:x:%s:\nlibvirt:x:64995:desk\n' "$uid"; } >"$state/group"
  mount --bind "$state/passwd" /etc/passwd && mount --bind "$state/group" /etc/group || die 'cannot cover /etc/passwd'
  printf '[libvirt]\ndrop_in = true\nread_only_socket = true\n' >/etc/vireo/vireod.toml
}

owned_home() {
  mkdir -p "$home/Downloads/isos" && mkdir -p "/run/user/$uid"
  cp "$DESK_ISO" "$home/Downloads/isos/little.iso"
  chmod 755 "$state" "$home" && chmod 700 "/run/user/$uid"
  chown -R "$uid:$uid" "$home" "/run/user/$uid"
}

start_vireo() {
  "$project/bin/vireod" --mode system --no-idle-exit >"$state/vireod.out" 2>"$state/vireod.log" &
  daemon=$!
  for _ in $(seq 200); do
    [ -S /run/libvirt/libvirt-sock ] && virsh -q -c qemu:///system uri >/dev/null 2>&1 && return
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  cat "$state/vireod.log" >&2
  die 'vireod did not come up'
}

setpriv --reuid="$uid" --regid="$uid" --clear-groups test -x "$project/bin/vireod" || die "ordinary users cannot enter $project"
private_dev
trap remove_made EXIT
private_host
owned_home
start_vireo
setpriv --reuid="$uid" --regid="$uid" --groups=64995 --reset-env env -C "$home" \
  PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 \
  HOME="$home" USER=desk XDG_RUNTIME_DIR="/run/user/$uid" LIBVIRTD_PATH="$project/bin" \
  DESK_SHOTS="$home/shots" GSETTINGS_BACKEND=keyfile GTK_MODULES=atk-bridge \
  dbus-run-session -- bash "$here/screen.sh" "$@"
status=$?
kill -TERM "$daemon"
wait "$daemon"
exit "$status"
