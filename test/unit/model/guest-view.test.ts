/** What a guest sees of its definition: a saved guest goes on only with the same. */
import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { guestDifference } from '../../../src/model/domain/guest-view.ts';

const xml = `<domain type='kvm'><name>a</name><title>x</title><memory>1024</memory><vcpu cpuset='0'>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os><on_reboot>restart</on_reboot>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a'/><target dev='vda' bus='virtio'/>
      <serial>S1</serial><address type='pci' domain='0' bus='1' slot='0' function='0'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='n'/><model type='virtio'/></interface>
    <serial type='pty'><target port='0'/></serial>
    <graphics type='vnc' port='5900'/>
  </devices></domain>`;
const parse = (text: string) => parseDomain(text, { mode: 'strict' }).definition;
const compare = (from: string, to: string) => guestDifference(parse(xml), parse(xml.replace(from, to)));

describe('a guest', () => {
  it.each([
    ["file='/a'", "file='/b'"],
    ["type='qcow2'", "type='raw'"],
    ["<source network='n'/>", "<source network='m'/><link state='down'/>"],
    ["port='5900'", "port='5901' passwd='p'"],
    ['<title>x</title>', '<title>y</title><description>z</description>'],
    ["cpuset='0'", "cpuset='1'"],
    ["<serial type='pty'>", "<serial type='file'><source path='/f'/>"],
    ['<on_reboot>restart', '<on_reboot>destroy'],
    ["<boot dev='hd'/>", "<boot dev='cdrom'/>"],
  ])('does not see %s become %s', (from, to) => {
    expect(compare(from, to)).toBeUndefined();
  });

  it.each([
    ['>1</vcpu>', '>2</vcpu>', 'vcpu.count'],
    ['<memory>1024', '<memory>2048', 'memory.sizeKiB'],
    ["bus='1' slot='0'", "bus='2' slot='0'", 'devices.disks[0].address.bus'],
    ['S1', 'S2', 'devices.disks[0].serial'],
    ["dev='vda' bus='virtio'", "dev='sda' bus='scsi'", 'devices.disks[0].target.dev'],
    ['00:00:01', '00:00:02', 'devices.interfaces[0].mac.address'],
    ['<serial type', "<watchdog model='i6300esb'/><serial type", 'devices.watchdogs'],
    ['pc-q35-7.2', 'pc-q35-6.2', 'os.type.machine'],
  ])('sees %s become %s', (from, to, path) => {
    expect(compare(from, to)).toBe(path);
  });
});
