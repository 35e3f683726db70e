#!/bin/sh
# Puts Vireo in place on this host: the program, two commands, systemd units, the group of the socket. Run again, it
# brings everything up to date; guests go on running. `npm run install:system` calls it.
#
#   PREFIX       below which it is installed                                    /usr/local
#   DESTDIR      a tree to install into instead of the running system (packagers): no group is made, nothing started
#   UNITDIR      where the unit directories system/ and user/ are               PREFIX/lib/systemd or /etc/systemd
#   VIREO_GROUP  group whose members may use the system daemon                  vireo, else libvirt, else vireo is made
#
# With --drop-in Vireo takes libvirtd's place: its names for programs and units, the read-only socket, pid files and logs
# where libvirt's are, and group libvirt. Files of other packages are never replaced; docs/guide/drop-in.md tells more.
set -eu

dropin=
for argument; do
  case $argument in
    --drop-in) dropin=1 ;;
    *)
      printf 'install-system: there is no option %s\n' "$argument" >&2
      exit 2
      ;;
  esac
done

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
source=$(cd -P -- "$(dirname -- "$0")/.." && pwd)
libdir=$PREFIX/lib/vireo

say() { printf '%s\n' "$*"; }
fail() {
  printf 'install-system: %s\n' "$1" >&2
  printf 'repair: %s\n' "$2" >&2
  exit 1
}

# systemd looks for units below /usr/lib and /usr/local/lib, and below no other prefix.
case $PREFIX in
  /usr | /usr/local) UNITDIR=${UNITDIR:-$PREFIX/lib/systemd} ;;
  /*) UNITDIR=${UNITDIR:-/etc/systemd} ;;
  *) fail "PREFIX '$PREFIX' is not an absolute path" "give one: PREFIX=/usr/local" ;;
esac
case $PREFIX$UNITDIR in *[!A-Za-z0-9_./-]*) fail "PREFIX or UNITDIR has a character that a unit file would not take" "use letters, digits and _ . - /" ;; esac

if [ -z "$DESTDIR" ] && [ "$(id -u)" -ne 0 ]; then
  fail "only root can install for the whole system" "sudo npm run install:system (session mode needs no installation: bin/vireo -c qemu:///session)"
fi
# A guest of libvirtd's goes on when that is stopped, but nobody could reach it any more.
if [ -n "$dropin" ] && [ -z "$DESTDIR" ]; then
  for pidfile in /run/libvirt/qemu/*.pid; do
    [ -e "${pidfile%.pid}.xml" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null || continue
    fail "guest '$(basename "$pidfile" .pid)' runs under libvirtd, and cannot change hands while it does" "virsh shutdown all guests, then install again"
  done
fi
node=$source/node_modules/node/bin/node
[ -x "$node" ] || fail "the packages are not there" "npm ci"
[ -f "$source/node_modules/typescript/bin/tsc" ] || fail "the compiler is not there" "npm ci (without --omit=dev)"

# --- the tree, made beside its place and then put there with one rename ---
mkdir -p "$DESTDIR$PREFIX/lib" "$DESTDIR$PREFIX/bin"
stage=$(mktemp -d "$DESTDIR$PREFIX/lib/.vireo.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM

say "building"
(cd "$source" && "$node" node_modules/typescript/bin/tsc -p tsconfig.build.json --declaration false --outDir "$stage/dist") ||
  fail "the sources do not compile" "npm run check tells more"
# What the compiler does not carry over: pages, styles, data.
(cd "$source/src" && find . -type f ! -name '*.ts' -print) | while IFS= read -r file; do
  mkdir -p "$stage/dist/$(dirname "$file")"
  cp "$source/src/$file" "$stage/dist/$file"
done

say "copying"
for item in bin systemd docs package.json package-lock.json README.md CHANGELOG.md LICENSE; do
  [ ! -e "$source/$item" ] || cp -R "$source/$item" "$stage/"
done
mkdir "$stage/scripts"
cp "$source/scripts/uninstall-system.sh" "$stage/scripts/"
# Only what the program needs when it runs, by the lock file.
"$node" -e '
  const { packages } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  for (const [path, entry] of Object.entries(packages))
    if (path.startsWith("node_modules/") && !entry.dev && !entry.devOptional) console.log(path);
' "$source/package-lock.json" | while IFS= read -r path; do
  # Packages for other processors and systems are listed too, but not installed.
  [ -d "$source/$path" ] || continue
  mkdir -p "$stage/$(dirname "$path")"
  [ -d "$stage/$path" ] || cp -R "$source/$path" "$stage/$path"
done
chown -R 0:0 "$stage" 2>/dev/null || [ -n "$DESTDIR" ] || fail "the files cannot be given to root" "run it as root"
chmod -R u=rwX,go=rX "$stage"
"$stage/bin/vireo" --version >/dev/null || fail "the installed program does not run" "look at the message above"

rm -rf "$DESTDIR$libdir.old"
[ ! -e "$DESTDIR$libdir" ] || mv "$DESTDIR$libdir" "$DESTDIR$libdir.old"
mv "$stage" "$DESTDIR$libdir"
rm -rf "$DESTDIR$libdir.old"
for program in vireo vireod; do
  ln -sfn "../lib/vireo/bin/$program" "$DESTDIR$PREFIX/bin/$program"
done

# --- libvirt's names ---
# A name that another package has stays that package's.
take_name() {
  path=$1
  target=$2
  mkdir -p "$(dirname "$path")"
  if [ -e "$path" ] && { [ ! -L "$path" ] || [ "$(readlink -- "$path")" != "$target" ]; }; then
    say "left as it is: $path (of another package)"
  else
    ln -sfn "$target" "$path"
  fi
}
if [ -n "$dropin" ]; then
  take_name "$DESTDIR$PREFIX/bin/virt-ssh-helper" "../lib/vireo/bin/virt-ssh-helper"
  for name in libvirtd virtqemud; do
    take_name "$DESTDIR$PREFIX/sbin/$name" "../lib/vireo/bin/$name"
    # The path that is compiled into clients, where they look for the daemon of a session.
    [ "$PREFIX" = /usr ] || take_name "$DESTDIR/usr/sbin/$name" "$libdir/bin/$name"
  done
fi

# --- the group of the socket ---
has_group() { getent group "$1" >/dev/null 2>&1; }
group=${VIREO_GROUP:-}
if [ -z "$group" ] && [ -n "$dropin" ]; then
  # Who may use libvirtd may use what is in its place.
  group=libvirt
elif [ -z "$group" ]; then
  group=vireo
  if ! has_group vireo && has_group libvirt; then group=libvirt; fi
fi
if [ -z "$DESTDIR" ] && ! has_group "$group"; then
  groupadd --system "$group"
  say "made group '$group'"
fi

# --- units ---
for scope in system user; do
  mkdir -p "$DESTDIR$UNITDIR/$scope"
  for unit in vireod.service vireod.socket; do
    sed -e "s,/usr/local/lib/vireo/,$libdir/,g" -e "s,^SocketGroup=.*,SocketGroup=$group," \
      "$source/systemd/$scope/$unit" >"$DESTDIR$UNITDIR/$scope/$unit"
    chmod 0644 "$DESTDIR$UNITDIR/$scope/$unit"
  done
done
sed -e "s,/usr/local/lib/vireo/,$libdir/,g" "$source/systemd/system/vireo-guests.service" \
  >"$DESTDIR$UNITDIR/system/vireo-guests.service"
chmod 0644 "$DESTDIR$UNITDIR/system/vireo-guests.service"
if [ -n "$dropin" ]; then
  for unit in vireod.service vireod.socket; do
    mkdir -p "$DESTDIR$UNITDIR/system/$unit.d"
    cp "$source/systemd/drop-in/$unit.d/libvirt.conf" "$DESTDIR$UNITDIR/system/$unit.d/libvirt.conf"
    chmod 0644 "$DESTDIR$UNITDIR/system/$unit.d/libvirt.conf"
  done
  # For unix_auth = "polkit"; libvirt's own package has the same.
  actions=$DESTDIR/usr/share/polkit-1/actions
  if [ ! -e "$actions/org.libvirt.unix.policy" ]; then
    mkdir -p "$actions"
    cp "$source/systemd/polkit/org.libvirt.unix.policy" "$actions/"
    chmod 0644 "$actions/org.libvirt.unix.policy"
  fi
  config=$DESTDIR/etc/vireo/vireod.toml
  settings="[daemon]
socket_group = \"$group\"

[libvirt]
drop_in = true
read_only_socket = true"
  if [ -e "$config" ]; then
    grep -q '^drop_in = true' "$config" || say "to do: $config is yours and stays; it should say:
$settings"
  else
    mkdir -p -m 0700 "$DESTDIR/etc/vireo"
    (umask 077 && printf '%s\n' "$settings" >"$config")
  fi
fi
say "installed: $DESTDIR$libdir, commands in $DESTDIR$PREFIX/bin, units in $DESTDIR$UNITDIR"

# --- start ---
if [ -n "$DESTDIR" ]; then
  say "to do on the target: groupadd --system $group; systemctl daemon-reload; systemctl enable --now vireod.socket vireod.service"
elif [ -d /run/systemd/system ]; then
  if [ -n "$dropin" ]; then
    # Their guests would go on, but there are none (see above).
    for unit in libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket virtqemud.service virtqemud.socket; do
      if [ "$(systemctl show -p Id --value "$unit")" = "$unit" ]; then systemctl disable --quiet --now "$unit" 2>/dev/null || true; fi
    done
  fi
  systemctl daemon-reload
  systemctl enable --quiet vireod.socket vireod.service vireo-guests.service
  # A daemon that runs is of the old version; a restart leaves its guests alone.
  systemctl start vireod.socket
  systemctl restart vireod.service
  systemctl start vireo-guests.service
  [ -z "$dropin" ] || say "what libvirtd knew can come over: vireo adopt libvirt --dry-run"
  say "the daemon runs; members of group '$group' may use it: usermod -aG $group USER"
  say "session daemons start by themselves; their unit is optional: systemctl --user enable --now vireod.socket"
else
  say "systemd does not run here, so nothing was started. Start the daemon with: $PREFIX/bin/vireod --mode system"
  say "and have your init system start it at boot; members of group '$group' may use it"
fi
