#!/bin/sh
# Takes away what install-system.sh put in place. Guests, their disks, definitions, logs and the group stay, running
# guests go on. PREFIX, DESTDIR and UNITDIR as at the installation.
set -eu

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
case $PREFIX in
  /usr | /usr/local) UNITDIR=${UNITDIR:-$PREFIX/lib/systemd} ;;
  *) UNITDIR=${UNITDIR:-/etc/systemd} ;;
esac
libdir=$PREFIX/lib/vireo

say() { printf '%s\n' "$*"; }

if [ -z "$DESTDIR" ] && [ "$(id -u)" -ne 0 ]; then
  printf 'uninstall-system: only root can do this\nrepair: sudo npm run uninstall:system\n' >&2
  exit 1
fi

has_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

if has_systemd && [ -e "$UNITDIR/system/vireod.service" ]; then
  # KillMode=process: this ends the daemon, not the guests.
  systemctl disable --quiet --now vireod.socket vireod.service
  # Not stopped: that would end the guests.
  systemctl disable --quiet vireo-guests.service
fi
rm -f "$DESTDIR$UNITDIR/system/vireo-guests.service"
for scope in system user; do
  rm -f "$DESTDIR$UNITDIR/$scope/vireod.service" "$DESTDIR$UNITDIR/$scope/vireod.socket"
done
for unit in vireod.service vireod.socket; do
  rm -f "$DESTDIR$UNITDIR/system/$unit.d/libvirt.conf"
  rmdir "$DESTDIR$UNITDIR/system/$unit.d" 2>/dev/null || true
done
if has_systemd; then systemctl daemon-reload; fi

# Only links that are ours: a package's own command of that name stays.
for program in vireo vireod; do
  link=$DESTDIR$PREFIX/bin/$program
  if [ -L "$link" ] && [ "$(readlink -- "$link")" = "../lib/vireo/bin/$program" ]; then rm -f "$link"; fi
done
policy=$DESTDIR/usr/share/polkit-1/actions/org.libvirt.unix.policy
if [ -e "$policy" ] && cmp -s "$policy" "$DESTDIR$libdir/systemd/polkit/org.libvirt.unix.policy"; then rm -f "$policy"; fi
drop_name() { if [ -L "$1" ] && [ "$(readlink -- "$1")" = "$2" ]; then rm -f "$1"; fi; }
drop_name "$DESTDIR$PREFIX/bin/virt-ssh-helper" "../lib/vireo/bin/virt-ssh-helper"
for name in libvirtd virtqemud; do
  drop_name "$DESTDIR$PREFIX/sbin/$name" "../lib/vireo/bin/$name"
  drop_name "$DESTDIR/usr/sbin/$name" "$libdir/bin/$name"
done
rm -rf "$DESTDIR$libdir"

say "removed: the program, its commands and units"
say "left as they are: running guests, definitions in /etc/vireo, guests' data in /var/lib/vireo, disk images, logs in /var/log/vireo, and the socket's group"
say "to remove definitions and data for good: rm -r /etc/vireo /var/lib/vireo /var/log/vireo /var/cache/vireo /run/vireo"
