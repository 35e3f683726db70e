/** The ways in which a client names an image of a running guest's disk. */
import { describe, expect, it } from 'vitest';
import type { Domain } from '../../../src/daemon/services/domain.ts';
import { layerNamed } from '../../../src/daemon/services/domain-block-jobs.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const xml = `<domain type='qemu'><name>web</name><memory>65536</memory><os><type>hvm</type></os><devices>
<disk type='file'><driver name='qemu' type='qcow2'/><source file='/pool/top' index='1'/>
<backingStore type='file' index='2'><format type='qcow2'/><source file='/pool/mid'/>
<backingStore type='file' index='3'><format type='raw'/><source file='/base/7'/><backingStore/></backingStore>
</backingStore><target dev='vda'/></disk></devices></domain>`;
const [disk] = parseDomain(xml, { mode: 'lenient' }).definition.devices.disks;
const numbered = {
  ...disk,
  source: { ...disk?.source, index: 1 },
} as NonNullable<typeof disk>;
const find = (name: string) => layerNamed({ name: 'web' } as Domain, numbered, name, 'base').index;

describe('an image', () => {
  it.each([
    ['/pool/mid', 2],
    ['vda[2]', 2],
    ['3', 3],
    ['vda', 1],
    // As image files write it, and as OpenStack names what it merges: from the directory of the image above.
    ['mid', 2],
    ['./mid', 2],
    ['../base/7', 3],
  ])('is named %s', (name, index) => {
    expect(find(name)).toBe(index);
  });

  it.each(['top', '7', '../mid', 'pool/mid', '/mid', ''])('is not named %s', (name) => {
    expect(() => find(name)).toThrow(/could not find image/);
  });
});
