/** Disks of every bus, and SCSI controllers. */
import { disk, disks, type Parts } from './parts.ts';

export const storageParts: Readonly<Record<string, Parts>> = {
  'disks-ide': { devices: disks('ide', 'hd', 4) + disk('fdc', 'fda', '', 'floppy') },
  'disks-ide-default': {
    devices:
      disk('', 'hda') +
      disk('', 'hdb', '', 'cdrom') +
      disk('', 'sda') +
      disk('', 'vda') +
      disk('', 'fdb', '', 'floppy'),
  },
  'disks-q35-default': {
    machine: 'q35',
    devices: disk('', 'hda') + disk('', 'sda') + disk('', 'vda') + disk('', 'sdb', '', 'cdrom'),
  },
  'disks-sata-pc': { devices: disks('sata', 'sd', 8) },
  'disks-sata-q35': { machine: 'q35', devices: disks('sata', 'sd', 8) },
  'disks-scsi': { devices: disks('scsi', 'sd', 17) },
  'disks-scsi-virtio': {
    machine: 'q35',
    devices: `<controller type='scsi' index='0' model='virtio-scsi'/>${disks('scsi', 'sd', 9)}`,
  },
  'disks-scsi-models': {
    devices: [
      'lsilogic',
      'lsisas1068',
      'virtio-scsi',
      'virtio-transitional',
      'virtio-non-transitional',
      'lsisas1078',
      'vmpvscsi',
      'am53c974',
      'dc390',
      'auto',
    ]
      .map((model, index) => `<controller type='scsi' index='${index}' model='${model}'/>`)
      .join(''),
  },
  'disks-usb': { devices: disks('usb', 'sd', 3) },
  'disks-usb-q35': { machine: 'q35', devices: disks('usb', 'sd', 6) },
  'disks-cdrom': {
    machine: 'q35',
    devices: `<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk><disk type='block' device='cdrom'><driver name='qemu' type='raw'/><target dev='sdb' bus='sata' tray='open'/><readonly/></disk>`,
  },
  'disks-tuned': {
    devices: `<controller type='scsi' model='virtio-scsi'><driver queues='4' iothread='1'/></controller>
${disk('virtio', 'vda', `<serial>abc-1</serial><iotune><total_bytes_sec>1000000</total_bytes_sec></iotune><blockio logical_block_size='512' physical_block_size='4096'/>`)}
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' error_policy='stop' io='native' discard='unmap' iothread='2' detect_zeroes='unmap' queues='2'/><source file='/var/lib/images/b.qcow2'/><target dev='vdb' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/var/lib/images/c.raw'/><target dev='sda' bus='scsi' rotation_rate='1'/><vendor>ACME</vendor><product>Disk</product><wwn>5000c50015ea71aa</wwn></disk>`,
    top: '<iothreads>2</iothreads>',
  },
  'pc-thirty-virtio': { devices: disks('virtio', 'vd', 30) },
  'q35-thirty-virtio': { machine: 'q35', devices: disks('virtio', 'vd', 30) },
  'pc-sixty-virtio': { devices: disks('virtio', 'vd', 60) },
};
