#!/bin/sh
# A host with a system bus and polkit of its own, in namespaces of its own (unshare --mount --pid --net): runs a daemon there
# whose libvirt sockets are polkit's, and virsh as users with and without the right. Prints what each of them gets.
#   polkit-host.sh VIREOD ROOT
set -eu
vireod=$1
root=$2

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/dbus /run/lock "$root/etc/vireo"
# One ordinary user is in the group that Debian's rule lets in, the other is not.
sed 's/^libvirt:.*/libvirt:x:64997:sys/' /etc/group >"$root/group"
grep -q '^libvirt:' "$root/group" || echo 'libvirt:x:64997:sys' >>"$root/group"
mount --bind "$root/group" /etc/group
mkdir "$root/rules"
cat >"$root/rules/60-libvirt.rules" <<'RULE'
polkit.addRule(function (action, subject) {
  if (action.id == "org.libvirt.unix.manage" && subject.isInGroup("libvirt")) return polkit.Result.YES;
});
RULE
mkdir "$root/actions"
cp "${0%/*}/../../systemd/polkit/org.libvirt.unix.policy" "$root/actions/"
chmod 755 "$root" "$root/rules" "$root/actions"
mount --bind "$root/rules" /usr/share/polkit-1/rules.d
# Ours alone, whatever packages are here.
mount --bind "$root/actions" /usr/share/polkit-1/actions

dbus-daemon --system --fork --nopidfile --nosyslog
for polkitd in /usr/lib/polkit-1/polkitd /usr/libexec/polkitd; do
  [ ! -x "$polkitd" ] || { "$polkitd" --no-debug >/dev/null 2>&1 & }
done
tries=0
until dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner \
  string:org.freedesktop.PolicyKit1 2>/dev/null | grep -q 'boolean true'; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { echo 'polkitd does not start' >&2; exit 1; }
  sleep 0.1
done

printf '[network]\ndefine_default = false\n[libvirt]\nunix_auth = "polkit"\nread_only_socket = true\n' >"$root/etc/vireo/vireod.toml"
mkfifo "$root/ready"
"$vireod" --mode system --root "$root" >"$root/ready" 2>"$root/log" &
grep -q '^vireod ready' <"$root/ready"

uri="qemu:///system?socket=$root/run/libvirt/libvirt-sock"
as() {
  user=$1
  shift
  setpriv --reuid="$user" --regid=nogroup --clear-groups -- virsh -q "$@" </dev/null 2>&1 | tr '\n' ' '
  echo
}
printf 'root: '
virsh -q -c "$uri" uri
printf 'member: '
as sys -c "$uri" uri
printf 'other: '
as nobody -c "$uri" uri
printf 'looking: '
as nobody -r -c "qemu:///system?socket=$root/run/libvirt/libvirt-sock-ro" uri
printf 'modes: '
stat -c '%a' "$root/run/libvirt/libvirt-sock" "$root/run/libvirt/libvirt-sock-ro" "$root/run/vireo/vireo.sock" | tr '\n' ' '
