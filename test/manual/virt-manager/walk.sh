#!/bin/sh
# Goes the walk through virt-manager (walk.py) at a desk of its own, and leaves pictures and virt-manager's log in DIRECTORY.
#   walk.sh DIRECTORY [system] [session]
set -eu
[ $# -ge 1 ] || { echo "usage: $0 DIRECTORY [system] [session]" >&2; exit 2; }
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
target=$(cd "$1" && pwd)
shift
state=$(mktemp -d /tmp/vireo-desk.XXXXXX)
chmod 755 "$state"
trap 'rm -rf "$state"' EXIT
"$here/../../../node_modules/node/bin/node" "$here/make-iso.ts" "$state/little.iso" >/dev/null 2>&1
status=0
DESK_ISO=$state/little.iso bash "$here/desk.sh" "$state/desk" env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/walk.py" "$@" || status=$?
cp "$state"/desk/home/shots/* "$state/desk/vireod.log" "$target/" || true
exit "$status"
