/** How much memory a guest may lock, by its devices. */
import { describe, expect, it } from 'vitest';
import { allowLocking, lockedBytes } from '../../../src/drivers/qemu/locked-memory.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const GIB = 1024 ** 3;
const pci = (bus: number) =>
  `<hostdev type='pci' managed='yes'><source><address bus='${bus}'/></source></hostdev>`;

function locked(devices: string, rest = ''): number | undefined {
  const xml = `<domain type='kvm'><name>a</name><memory unit='GiB'>2</memory>${rest}<os><type>hvm</type></os><devices>${devices}</devices></domain>`;
  return lockedBytes(parseDomain(xml, { mode: 'strict' }).definition);
}

describe('locked memory', () => {
  it('is nobody’s concern without VFIO', () => {
    expect(locked('')).toBeUndefined();
    expect(
      locked("<hostdev type='usb'><source><vendor id='1'/><product id='2'/></source></hostdev>"),
    ).toBeUndefined();
  });

  it('is granted to a guest that runs when a device comes, and a process that is gone is told of', () => {
    const definition = (devices: string) =>
      parseDomain(
        `<domain type='kvm'><name>a</name><memory unit='GiB'>2</memory><os><type>hvm</type></os><devices>${devices}</devices></domain>`,
        { mode: 'strict' },
      ).definition;
    const nobody = 2 ** 22 + 1; // beyond the highest pid_max
    expect(() => allowLocking(nobody, definition(''), 'attach it')).not.toThrow();
    expect(() => allowLocking(nobody, definition(pci(1)), 'attach it')).toThrow(
      /may not lock the guest's memory/,
    );
  });

  it('is the RAM and a gibibyte, for each device behind an IOMMU', () => {
    expect(locked(pci(1))).toBe(3 * GIB);
    expect(locked(pci(1) + pci(2))).toBe(3 * GIB);
    expect(locked(`${pci(1)}${pci(2)}<iommu model='intel'/>`)).toBe(5 * GIB);
    expect(locked('', '<memoryBacking><locked/></memoryBacking>')).toBe(3 * GIB);
  });
});
