# Process 1 of the lab's guest, in the host's file system: runs the command and hands back its status.
# shellcheck shell=sh
lab=/run/kvm-lab
bb() { "$lab/busybox" "$@"; }
bb mkdir -p /dev/pts /dev/shm /sys/fs/cgroup
bb mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts /dev/pts
bb mount -t tmpfs -o mode=1777 tmpfs /dev/shm
bb mount -t cgroup2 cgroup2 /sys/fs/cgroup
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
  bb ln -sf "${link#*:}" "/dev/${link%%:*}"
done
bb hostname kvm-lab
bb ip link set lo up
if [ -e /dev/kvm ]; then
  # As udev does it; systemd's own default is 0666, where there is no such group.
  if bb chgrp kvm /dev/kvm 2>/dev/null; then bb chmod 0660 /dev/kvm; else bb chmod 0666 /dev/kvm; fi
fi
# Directories that are shared for writing.
while read -r tag dir; do
  bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap "$tag" "$dir" ||
    echo "kvm-lab: cannot mount $dir" >/dev/kmsg
done <"$lab/shares"
port() {
  for p in /sys/class/virtio-ports/*; do
    read -r name <"$p/name"
    [ "$name" = "$1" ] && echo "/dev/${p##*/}"
  done
}
read -r up rest </proc/uptime
echo "ready $up" >"$(port control)"
# A port takes one process at a time, and programs reopen /dev/stdout: they get pipes instead.
bb mkfifo "$lab/out" "$lab/err"
bb cat "$lab/out" >"$(port stdout)" & out=$!
bb cat "$lab/err" >"$(port stderr)" & err=$!
# /bin/sh, since busybox's own shell prefers its applets to the programs in PATH.
bb setsid /bin/sh "$lab/command.sh" </dev/null >"$lab/out" 2>"$lab/err" &
wait $!
status=$?
# What the command left behind may hold the pipes open.
for proc in /proc/[0-9]*; do
  pid=${proc#/proc/}
  case $pid in 1 | "$out" | "$err") ;; *) kill -9 "$pid" 2>/dev/null ;; esac
done
wait "$out" "$err"
bb sync
while read -r tag dir; do bb umount "$dir"; done <"$lab/shares"
# shellcheck disable=SC2034 # the second word is not wanted
read -r up rest </proc/uptime
echo "status $status $up" >"$(port control)"
bb poweroff -f
