#!/bin/bash
# In the session bus of the user `desk`: an X server with a window manager, then the command.
set -u
exec 3>"$HOME/.display"
Xvfb -displayfd 3 -screen 0 1280x900x24 -nolisten tcp >"$HOME/.xvfb.log" 2>&1 &
xvfb=$!
for _ in $(seq 100); do
  [ -s "$HOME/.display" ] && break
  sleep 0.1
done
DISPLAY=:$(cat "$HOME/.display")
export DISPLAY
openbox >/dev/null 2>&1 &
env >"$HOME/.environment"
"$@"
status=$?
# It takes its socket and lock in /tmp away when it is asked to end.
kill "$xvfb"
wait "$xvfb"
exit "$status"
