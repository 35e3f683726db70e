#!/bin/bash
# Asks the libvirtd beside it what it makes of documents:
#   ask-libvirt.sh IN OUT
# Each IN/NAME.xml is defined; OUT gets NAME.inactive.xml, NAME.argv and, when IN/NAME.live exists, NAME.live.xml of the
# guest started paused. When IN/NAME.insert exists its elements are added to the devices of libvirt's own output, and
# that is defined again: NAME.again.inactive.xml. What libvirtd refuses leaves NAME.error. Then the capabilities.
set -u
in=$1 out=$2
try() { # try NAME OUTPUT COMMAND...
  local name=$1 file=$2
  shift 2
  "$@" >"$out/$file" 2>"$out/stderr" && return 0
  cat "$out/stderr" >>"$out/$name.error"
  rm -f "$out/$file"
  return 1
}
for file in "$in"/*.xml; do
  name=$(basename "$file" .xml)
  try "$name" ignored virsh -q define "$file" || continue
  try "$name" "$name.inactive.xml" virsh -q dumpxml --inactive "$name"
  try "$name" "$name.argv" virsh -q domxml-to-native qemu-argv --domain "$name"
  if [ -e "$in/$name.live" ] && try "$name" ignored virsh -q start --paused "$name"; then
    try "$name" "$name.live.xml" virsh -q dumpxml "$name"
    virsh -q destroy "$name" >"$out/ignored"
  fi
  if [ -e "$in/$name.insert" ]; then
    # As `virsh edit` does it: libvirt's own output with something added.
    virsh -q dumpxml --inactive "$name" | sed "/<devices>/r $in/$name.insert" >"$out/$name.again.given"
    try "$name.again" ignored virsh -q define "$out/$name.again.given" &&
      try "$name.again" "$name.again.inactive.xml" virsh -q dumpxml --inactive "$name"
  fi
  virsh -q undefine --nvram "$name" >"$out/ignored" 2>&1
done
virsh -q capabilities >"$out/capabilities.xml"
for machine in pc q35; do
  virsh -q domcapabilities --virttype qemu --machine "$machine" >"$out/domcapabilities-$machine.xml"
done
