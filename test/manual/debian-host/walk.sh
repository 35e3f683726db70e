#!/bin/bash
# Run inside the host: installs Vireo with systemd and starts a guest that has a PCI card, a USB disk, vhost-net, a vsock and a
# control group. Says what is wrong and goes on; the last line counts.
set -u
. "$(dirname -- "$0")/../expect.sh"
cd /root/vireo || exit 1
sh scripts/install-system.sh || exit 1
expect 'the unit is active' '^active$' "$(systemctl is-active vireod)"
expect 'host check finds no problem' ' 0 problems' "$(vireo host check)"
expect 'the network default is active' 'default +active +yes +nat' "$(vireo network list)"

guest=/var/lib/vireo/welcome
[ -f $guest/vmlinuz ] || { echo "no $guest/vmlinuz and initramfs.gz: copy those that 'npm start' made elsewhere"; exit 1; }
card=$(basename "$(readlink -f /sys/bus/pci/drivers/e1000e/0000:*)")
slot=${card#0000:}
cat >/root/lab.xml <<XML
<domain type='kvm'>
  <name>lab</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>
  <cputune><shares>512</shares><vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='0'/></cputune>
  <memtune><hard_limit unit='MiB'>2048</hard_limit></memtune>
  <os><type arch='x86_64' machine='q35'>hvm</type><kernel>$guest/vmlinuz</kernel><initrd>$guest/initramfs.gz</initrd>
    <cmdline>console=ttyS0 vireo.hostname=lab</cmdline></os>
  <features><acpi/></features><cpu mode='host-passthrough'/>
  <devices>
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
    <vsock model='virtio'><cid auto='yes'/></vsock>
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='0x${slot%%:*}' slot='0' function='0'/></source></hostdev>
    <hostdev mode='subsystem' type='usb' managed='yes'><source><vendor id='0x46f4'/><product id='0x0001'/></source></hostdev>
    <console type='pty'/>
  </devices>
</domain>
XML
vireo define /root/lab.xml && vireo start lab
expect 'the guest runs under KVM' 'lab +running .* kvm' "$(vireo list)"
expect 'its card is with vfio-pci' 'vfio-pci$' "$(readlink "/sys/bus/pci/devices/$card/driver")"
pid=$(cat /run/vireo/../libvirt/qemu/lab.pid 2>/dev/null || pgrep -o -f guest=lab)
files=$(ls -l "/proc/$pid/fd")
for device in /dev/kvm /dev/vfio/vfio /dev/vhost-net /dev/vhost-vsock /dev/bus/usb; do
  expect "QEMU has $device" "$device" "$files"
done
group=/sys/fs/cgroup$(cut -d: -f3 "/proc/$pid/cgroup")
expect 'shares are in its control group' '^512$' "$(cat "$group/cpu.weight")"
expect 'its memory limit too' '^2147483648$' "$(cat "$group/memory.max")"
for _ in $(seq 60); do vireo network leases default | grep -q lab && break; sleep 5; done
expect 'it has an address from DHCP' 'lab' "$(vireo network leases default)"
systemctl kill -s KILL vireod
sleep 10
expect 'the killed daemon is back and finds it' 'lab +running' "$(vireo list)"
vireo destroy lab
expect 'its card is back with its driver' 'e1000e$' "$(readlink "/sys/bus/pci/devices/$card/driver")"
vireo undefine lab
tell_end
