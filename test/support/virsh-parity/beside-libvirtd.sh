#!/bin/bash
# In the namespaces of a private libvirtd: asks it, then a vireod of its own, the same commands.
#   beside-libvirtd.sh VIREOD ROOT COMMANDS OUT
set -u
vireod=$1 root=$2 commands=$3 out=$4
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$out/libvirtd" "$out/vireo"
bash "$here/ask-virsh.sh" qemu:///system "$commands" "$out/libvirtd"
"$vireod" --mode system --root "$root" --no-idle-exit --log-format json ${VIREO_PROOF:+--log-level debug} >"$out/vireod.log" 2>&1 &
daemon=$!
uri="qemu:///system?socket=$root/run/libvirt/libvirt-sock"
for _ in $(seq 150); do
  virsh -c "$uri" uri >/dev/null 2>&1 && break
  kill -0 "$daemon" || exit 125
  sleep 0.1
done
bash "$here/ask-virsh.sh" "$uri" "$commands" "$out/vireo"
kill -TERM "$daemon"
wait "$daemon"
status=$?
# For scripts/libvirt-proof.ts.
[ -z "${VIREO_PROOF:-}" ] || cp "$out/vireod.log" "$VIREO_PROOF/parity.log"
exit $status
