#!/bin/sh
# npm start: installs what is missing, starts the daemon, boots the welcome guest, tells how to reach everything.
#   npm start -- --root DIR    with every file of the daemon below DIR
set -eu
here=$(dirname "$0")
sh "$here/setup.sh"
exec "$here/../node_modules/node/bin/node" "$here/start.ts" "$@"
