/** What of a running definition follows from QEMU's words, and what a start went on without. */
import { expect, it } from 'vitest';
import { droppedMedia } from '../../../src/daemon/services/dropped-media.ts';
import { diskOfNode } from '../../../src/drivers/qemu/live-definition.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';

const parse = (disks: string): DomainDef =>
  parseDomain(
    `<domain type='qemu'><name>g</name><memory>65536</memory><os><type>hvm</type></os><devices>${disks}</devices></domain>`,
    { mode: 'lenient' },
  ).definition;

const chain = parse(`<disk type='file'><driver type='qcow2'/><source file='/top' index='2'/>
  <backingStore type='file' index='3'><format type='raw'/><source file='/base'/><backingStore/></backingStore>
  <target dev='vda'/><alias name='virtio-disk0'/></disk>`);

it('a node is of the image with its number, and of the disk above', () => {
  const device = 'virtio-disk0';
  expect(diskOfNode(chain, 'libvirt-2-format')).toEqual({ device, path: '/top', image: 2, isTopmost: true });
  expect(diskOfNode(chain, 'libvirt-3-storage')).toEqual({
    device,
    path: '/base',
    image: 3,
    isTopmost: false,
  });
  expect(diskOfNode(chain, 'libvirt-9-format')).toEqual({});
  expect(diskOfNode(chain, '#block123')).toEqual({});
});

const optional = (file: string) =>
  `<source${file === '' ? '' : ` file='${file}'`} startupPolicy='optional'/>`;

it('media that a start went on without are told by disk', () => {
  const drive = (source: string) => `<disk type='file' device='cdrom'>${source}<target dev='sda'/></disk>`;
  const disk = `<disk type='file'>${optional('/d')}<target dev='vda'/></disk>`;
  const stored = parse(drive(optional('/a.iso')) + disk);
  expect(droppedMedia(stored, stored)).toEqual([]);
  expect(droppedMedia(stored, parse(drive('')))).toEqual([
    { disk: 'sda', alias: undefined, path: '/a.iso', isDrive: true },
    { disk: 'vda', alias: undefined, path: '/d', isDrive: false },
  ]);
});
