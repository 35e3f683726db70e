#!/bin/bash
# Debian's own guest agent in the image of guest-agent-image.sh: each verb by `vireo`, JSON-RPC and virsh, and what the guest shows of it
# afterwards. Works on a copy. Needs root, virsh and qemu-utils. Says what is wrong and goes on; some minutes without KVM.
#
#   bash guest-agent.sh DIRECTORY [kvm|qemu]
set -u
directory=$(cd "$1" && pwd)
type=${2:-qemu}
here=$(cd -P -- "$(dirname -- "$0")/../.." && pwd)
root=$directory/r
. "$(dirname -- "$0")/expect.sh"
vireo() { "$here/bin/vireo" --root "$root" "$@" 2>&1; }
guest() { vireo domain guest "$@"; }
inside() { vireo exec --timeout 3m ga -- sh -c "$1"; }
lv() { LC_ALL=C virsh -c "qemu:///system?socket=$root/run/libvirt/libvirt-sock" "$@" 2>&1; }
rm -rf "$root"
mkdir -p "$root/etc/vireo"
printf '[network]\ndefine_default = false\n' >"$root/etc/vireo/vireod.toml"
rm -f "$directory/ga.img"
qemu-img create -q -f qcow2 -F raw -b "$directory/disk.img" "$directory/ga.img"
"$here/bin/vireod" --mode system --root "$root" >"$directory/vireod.log" 2>&1 &
daemon=$!
trap 'vireo destroy ga >/dev/null; kill $daemon; wait $daemon' EXIT
for _ in $(seq 100); do vireo list >/dev/null && break; sleep 0.2; done
cat >"$directory/ga.xml" <<XML
<domain type='$type'><name>ga</name><memory unit='MiB'>512</memory><vcpu>2</vcpu>
<os><type machine='q35'>hvm</type><kernel>$directory/vmlinuz</kernel><initrd>$directory/initrd</initrd>
<cmdline>root=/dev/vda rw console=ttyS0 systemd.mask=apt-daily.timer</cmdline></os><features><acpi/></features>
<pm><suspend-to-mem enabled='yes'/></pm><devices>
<disk type='file'><driver name='qemu' type='qcow2' discard='unmap'/><source file='$directory/ga.img'/><target dev='vda' bus='virtio'/></disk>
<interface type='user'><model type='virtio'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<serial type='pty'><log file='$directory/serial.log' append='off'/></serial></devices></domain>
XML
vireo define "$directory/ga.xml" >/dev/null
vireo events --json >"$directory/events.log" &
events=$!
vireo start ga >/dev/null
awake() { vireo wait ga --for agent --timeout 15m; }
expect 'the agent answers' answers "$(awake)"

expect 'info: system, file system' 'Debian GNU/Linux' "$(guest info ga)"
expect 'guestinfo: OS id, file system, disk by its target' 'os.id +: debian.*fs.0.mountpoint +: /.*disk.*alias +: vda' "$(lv guestinfo ga | tr '\n' ' ')"
expect 'domfsinfo' '/ +vda +ext4 +vda' "$(lv domfsinfo ga | tr -s ' ')"
expect 'hostname' '^agent-guest' "$(lv domhostname ga --source agent)"
expect 'exec tells output and status' '^out 7$' "$(vireo exec ga -- sh -c 'printf out; exit 7'; echo " $?")"
head -c 300000 /dev/urandom >"$directory/f.in"
guest write-file ga "$directory/f.in" /root/f >/dev/null
rm -f "$directory/f.out"
guest read-file ga /root/f "$directory/f.out" >/dev/null
expect 'a file there and back' '^same$' "$(cmp "$directory/f.in" "$directory/f.out" && echo same)"

expect 'freeze: one file system' '^1 file' "$(guest freeze ga)"
expect 'frozen: the agent says so' frozen "$(lv qemu-agent-command ga '{"execute":"guest-fsfreeze-status"}')"
expect 'thaw: one file system' '^1 file' "$(guest thaw ga)"
expect 'thawed' thawed "$(lv qemu-agent-command ga '{"execute":"guest-fsfreeze-status"}')"
expect 'domfsfreeze and domfsthaw' 'Froze 1.*Thawed 1' "$(echo $(lv domfsfreeze ga) $(lv domfsthaw ga))"
inside 'dd if=/dev/zero of=/big bs=1M count=100 && sync && rm /big && sync' >/dev/null
expect 'trim' '.' "$(guest trim ga)"
expect 'domfstrim' '^0$' "$(lv domfstrim ga >/dev/null; echo $?)"

later=$(date -u -d '+5 hours' '+%F %H')
guest time ga --set "$(date -u -d '+5 hours' +%FT%TZ)" >/dev/null
expect 'time: set' "^$later" "$(inside 'date -u "+%F %T"')"
expect 'domtime --sync' '^0$' "$(lv domtime ga --sync >/dev/null; echo $?)"
guest time ga --set now >/dev/null
expect 'time: now' "^$(date -u +%F)" "$(inside 'date -u +%F')"

before=$(inside 'grep ^ann: /etc/shadow')
echo geheim-1 | guest set-password ga ann >/dev/null
expect 'password: another line in shadow' '^changed$' "$([ "$before" != "$(inside 'grep ^ann: /etc/shadow')" ] && echo changed)"
expect 'set-user-password' 'Password set successfully' "$(lv set-user-password ga ann geheim-2)"
ssh-keygen -q -t ed25519 -N '' -f "$directory/k" <<<y >/dev/null
guest ssh-keys ga ann --add "$directory/k.pub" >/dev/null
expect 'SSH keys: added' 'ssh-ed25519' "$(lv get-user-sshkeys ga ann)"
expect 'SSH keys: hers, 0600' '^600 ann' "$(inside 'stat -c "%a %U" /home/ann/.ssh/authorized_keys')"
guest ssh-keys ga ann --remove "$directory/k.pub" >/dev/null
expect 'SSH keys: removed' '^$' "$(echo $(lv get-user-sshkeys ga ann))"
lv setvcpus ga 1 --guest >/dev/null
expect 'vCPUs: one offline' '^1$' "$(inside nproc)"
lv setvcpus ga 2 --guest >/dev/null
expect 'vCPUs: back' '^2$' "$(inside nproc)"
lv guestvcpus ga --disable 1 >/dev/null
expect 'guestvcpus' 'online +: 0$' "$(lv guestvcpus ga)"
lv guestvcpus ga --enable 1 >/dev/null

vireo exec ga -- sleep 20 >/dev/null & slow=$!
sleep 3
expect 'a program that runs holds no job' 'No job' "$(vireo domain job ga)"
expect 'nor another question' answers "$(guest ping ga)"
wait $slow

guest suspend ga >/dev/null
expect 'suspend to memory' pmsuspended "$(vireo wait ga --for pmsuspended --timeout 2m >/dev/null; lv domstate ga)"
guest wake-up ga >/dev/null
expect 'wakes up' answers "$(awake)"
expect 'events of all that' 'domain.sleeping.*"to":"memory".*domain.woke-up' "$(tr '\n' ' ' <"$directory/events.log")"
expect 'reboot by the agent' '.' "$(lv reboot ga --mode agent)"
expect 'answers again' answers "$(sleep 10; awake)"
expect 'shutdown by the agent' 'shut off' "$(lv shutdown ga --mode agent >/dev/null; vireo wait ga --for shutoff --timeout 5m >/dev/null; lv domstate ga)"
kill $events
tell_end
