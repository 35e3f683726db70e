/** PCI slots that several functions share: function 0 must say so. */
import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { addressProblems } from '../../../src/model/domain/validate/addresses.ts';

function problemsWith(multifunction: string, second: string): unknown {
  const at = (more: string): string => `<address type='pci' domain='0' bus='0x12' slot='0x1f' ${more}/>`;
  const card = (address: string): string => `<interface type='user'>${address}</interface>`;
  const { definition } = parseDomain(
    `<domain type='qemu'><name>a</name><memory>1</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
    ${card(at(`function='0'${multifunction}`))}${card(at(second))}</devices></domain>`,
    { mode: 'strict' },
  );
  return addressProblems(definition);
}

describe('a shared PCI slot', () => {
  it('is a problem where function 0 denies it', () => {
    const message = "devices.interface[1] shares slot 0000:12:1f, so function 0 needs multifunction='on'";
    expect(problemsWith(" multifunction='off'", "function='1'")).toEqual([
      { path: 'devices.interface[0].address', message },
    ]);
  });

  it('is none where it says so, or leaves it open', () => {
    expect(problemsWith(" multifunction='on'", "function='7'")).toEqual([]);
    expect(problemsWith('', "function='7'")).toEqual([]);
  });

  it('has one device for each function', () => {
    expect(problemsWith('', "function='0'")).toEqual([
      {
        path: 'devices.interface[1].address',
        message: 'PCI 0000:12:1f.0 is taken by devices.interface[0].address',
      },
    ]);
  });
});
