/** What of SCSI devices and virtual functions of the host is refused, with the path of each part. */
import { describe, expect, it } from 'vitest';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { complete, context, recorded } from '../../golden/argv/cases.ts';

function problemsOf(hostdev: string): string {
  const capabilities = recorded('10');
  const xml = `<domain type='qemu'><name>g</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${hostdev}</devices></domain>`;
  try {
    buildCommand(complete(xml, capabilities), capabilities, context);
    return '';
  } catch (error) {
    return JSON.stringify((error as { details?: unknown }).details);
  }
}
const scsi = (attributes: string, source: string, more = '') =>
  `<hostdev type='scsi' ${attributes}><source ${source}</source>${more}</hostdev>`;
const local = "><adapter name='scsi_host2'/><address bus='0' target='0' unit='1'/>";

describe('a SCSI device of the host', () => {
  it('is taken with what changes nothing', () => {
    expect(problemsOf(scsi("rawio='no' sgio='filtered'", local))).toBe('');
  });

  const refused: readonly (readonly [string, string, string])[] = [
    ['raw I/O', scsi("rawio='yes'", local), 'devices.hostdev[0].rawio'],
    ['unfiltered commands', scsi("sgio='unfiltered'", local), 'devices.hostdev[0].sgio'],
    [
      'an adapter by its world wide name',
      scsi('', "><adapter type='fc_host' wwpn='2101001b32a9da4e'/><address bus='0' target='0' unit='1'/>"),
      'devices.hostdev[0].source.adapter.name',
    ],
    ['a ROM', scsi('', local, "<rom bar='off'/>"), 'devices.hostdev[0].rom'],
    [
      'an address of another bus',
      scsi('', local, "<address type='pci' domain='0' bus='0' slot='9' function='0'/>"),
      'devices.hostdev[0].address',
    ],
    [
      'a host without iSCSI',
      scsi('', `${local}<host name='example.org'/>`),
      'devices.hostdev[0].source.host',
    ],
    [
      'sharing of a vhost-scsi target',
      "<hostdev type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/><shareable/></hostdev>",
      'devices.hostdev[0].shareable',
    ],
    [
      'sharing of a USB device',
      "<hostdev type='usb'><source><vendor id='1'/><product id='2'/></source><shareable/></hostdev>",
      'devices.hostdev[0].shareable',
    ],
  ];
  it.each(refused)('is refused %s', (_title, xml, path) => {
    expect(problemsOf(xml)).toContain(`"${path}"`);
  });
});

describe('a virtual function of the host', () => {
  const nic = (more: string, attributes = "managed='yes'") =>
    `<interface type='hostdev' ${attributes}><source><address type='pci' domain='0' bus='1' slot='16' function='0'/></source>${more}</interface>`;

  it('is taken with a VLAN, and is named as devices of the host are', () => {
    expect(problemsOf(nic("<vlan><tag id='5'/></vlan><driver name='vfio'/>"))).toBe('');
  });

  const refused: readonly (readonly [string, string, string])[] = [
    ['a trunk', nic("<vlan trunk='yes'><tag id='5'/><tag id='6'/></vlan>"), 'vlan'],
    ['two VLANs', nic("<vlan><tag id='5'/><tag id='6'/></vlan>"), 'vlan'],
    ['limits', nic("<bandwidth><inbound average='10'/></bandwidth>"), 'bandwidth'],
    ['a filter', nic("<filterref filter='clean-traffic'/>"), 'filterref'],
    ['queues', nic("<driver queues='4'/>"), 'driver.queues'],
    ['the driver of another time', nic("<driver name='kvm'/>"), 'driver.name'],
    [
      'a virtual port',
      nic("<virtualport type='802.1Qbh'><parameters profileid='a'/></virtualport>"),
      'virtualport',
    ],
    ['a pulled cable', nic("<link state='down'/>"), 'link'],
    ['an MTU', nic("<mtu size='9000'/>"), 'mtu'],
    [
      'a USB device',
      "<interface type='hostdev'><source><address type='usb' bus='1' device='2'/></source></interface>",
      'source.address.type',
    ],
  ];
  it.each(refused)('is refused %s', (_title, xml, path) => {
    expect(problemsOf(xml)).toContain(`"devices.interface[0].${path}"`);
  });
});
