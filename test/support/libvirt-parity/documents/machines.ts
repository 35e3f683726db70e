/** Machines, firmware, boot; and many devices at once. */
import { disk, disks, nic, type Parts } from './parts.ts';

const twenty = [
  disks('virtio', 'vd', 4),
  disks('sata', 'sd', 2),
  nic('virtio') + nic('e1000e') + nic('e1000') + nic('rtl8139'),
  `<controller type='scsi' model='virtio-scsi'/>`,
  `<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>`,
  `<watchdog model='i6300esb' action='reset'/>`,
  `<sound model='ich9'/><sound model='ac97'/>`,
  `<video><model type='qxl'/></video><video><model type='qxl'/></video>`,
  `<graphics type='vnc' port='-1' autoport='yes'/>`,
  `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`,
  `<input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/>`,
  `<memballoon model='virtio'/><panic model='isa'/>`,
].join('');

export const machineParts: Readonly<Record<string, Parts>> = {
  'pc-minimal': { machine: 'pc' },
  'q35-minimal': { machine: 'q35' },
  'pc-old': { machine: 'pc-i440fx-6.2', features: '' },
  'q35-old': { machine: 'pc-q35-5.2' },
  isapc: { machine: 'isapc', features: '' },
  'pc-twenty': { machine: 'pc', devices: twenty },
  'q35-twenty': { machine: 'q35', devices: twenty },
  'q35-uefi': {
    machine: 'q35',
    os: `<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>`,
  },
  'q35-efi-auto': { machine: 'q35' },
  'q35-efi-secure': { machine: 'q35', features: `<features><acpi/><smm state='on'/></features>` },
  'direct-kernel': {
    os: `<kernel>/boot/vmlinuz</kernel><initrd>/boot/initrd</initrd><cmdline>console=ttyS0 a,b</cmdline>`,
  },
  'boot-menu': {
    os: `<boot dev='network'/><boot dev='hd'/><boot dev='cdrom'/><bootmenu enable='yes' timeout='3000'/><bios useserial='yes' rebootTimeout='0'/><smbios mode='sysinfo'/>`,
    top: `<sysinfo type='smbios'><bios><entry name='vendor'>Them</entry></bios><system><entry name='manufacturer'>Us, Inc</entry><entry name='product'>Box</entry></system><chassis><entry name='manufacturer'>C</entry></chassis><oemStrings><entry>one</entry></oemStrings></sysinfo>`,
    devices: `${disk('ide', 'hda')}${nic('e1000')}<serial type='pty'/>`,
  },
  'boot-order': {
    devices:
      disk('virtio', 'vda', `<boot order='2'/>`) +
      disk('ide', 'hdc', `<readonly/><boot order='1'/>`, 'cdrom') +
      `<interface type='user'><model type='virtio'/><boot order='3'/></interface>`,
  },
};
