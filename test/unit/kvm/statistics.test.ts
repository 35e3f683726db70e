/** Times, memory and firmware facts of recorded hosts. */
import { describe, expect, it } from 'vitest';
import { HostService } from '../../../src/daemon/services/host-service.ts';
import { readCpuMap, readCpuTimes } from '../../../src/kvm/host-statistics.ts';
import { parseSmbiosTable } from '../../../src/kvm/smbios-table.ts';
import { readSysinfo } from '../../../src/kvm/sysinfo.ts';
import { formatHostSysinfo } from '../../../src/model/capabilities/host-sysinfo.ts';
import { recordedFiles } from '../../support/recorded-files.ts';

const node = '/sys/devices/system/node';
const twoCells = recordedFiles({
  files: {
    '/proc/stat':
      'cpu  100 20 30 4000 50 6 7 8 9 10\ncpu0 60 10 20 2000 30 6 0 0 0 0\ncpu2 40 10 10 2000 20 0 7 8 9 10\nintr 1\n',
    '/sys/devices/system/cpu/online': '0,2\n',
    '/sys/devices/system/cpu/present': '0-3\n',
    [`${node}/online`]: '0-1\n',
    [`${node}/node0/cpulist`]: '0\n',
    [`${node}/node0/meminfo`]: 'Node 0 MemTotal:  8388608 kB\nNode 0 MemFree:  4096 kB\n',
    [`${node}/node0/hugepages/hugepages-2048kB/nr_hugepages`]: '16\n',
    [`${node}/node0/hugepages/hugepages-2048kB/free_hugepages`]: '5\n',
    [`${node}/node1/cpulist`]: '2\n',
    [`${node}/node1/meminfo`]: 'Node 1 MemTotal:  4194304 kB\nNode 1 MemFree:  2048 kB\n',
    [`${node}/node1/hugepages/hugepages-2048kB/nr_hugepages`]: '0\n',
    [`${node}/node1/hugepages/hugepages-2048kB/free_hugepages`]: '0\n',
  },
});
const service = (files = twoCells): HostService =>
  new HostService({ files } as unknown as ConstructorParameters<typeof HostService>[0]);

describe('the processors', () => {
  it('tell their times since boot, all together and each', () => {
    expect(readCpuTimes(twoCells)).toEqual({ userMs: 1200, kernelMs: 430, idleMs: 40_000, iowaitMs: 500 });
    expect(readCpuTimes(twoCells, 2)).toEqual({ userMs: 500, kernelMs: 170, idleMs: 20_000, iowaitMs: 200 });
    expect(() => readCpuTimes(twoCells, 1)).toThrow(expect.objectContaining({ code: 'request.invalid' }));
  });

  it('are mapped as those present, with those that are online', () => {
    expect(readCpuMap(twoCells)).toEqual({ online: [true, false, true, false] });
  });
});

describe('the memory', () => {
  it('is told for each cell', () => {
    expect(service().cells()).toMatchObject([
      { cell: 0, totalKiB: 8_388_608, freeKiB: 4096 },
      { cell: 1, totalKiB: 4_194_304, freeKiB: 2048 },
    ]);
  });

  it('is counted in free pages of each size, and nothing else is made up', () => {
    const ask = (sizesKiB: number[], firstCell = 0, cellCount = 2) =>
      service().freePages({ sizesKiB, firstCell, cellCount });
    expect(ask([4, 2048])).toEqual([
      { cell: 0, sizeKiB: 4, free: 1024 },
      { cell: 0, sizeKiB: 2048, free: 5 },
      { cell: 1, sizeKiB: 4, free: 512 },
      { cell: 1, sizeKiB: 2048, free: 0 },
    ]);
    expect(() => ask([1_048_576])).toThrow(expect.objectContaining({ code: 'request.invalid' }));
    expect(() => ask([4], 1, 2)).toThrow(expect.objectContaining({ code: 'request.invalid' }));
  });
});

/** A structure of a table: type, fields from offset 4 on, strings. */
function structure(type: number, fields: readonly number[], strings: readonly string[] = []): Buffer {
  const head = Buffer.from([type, 4 + fields.length, 0, 0, ...fields]);
  const tail = strings.length === 0 ? '\0\0' : `${strings.join('\0')}\0\0`;
  return Buffer.concat([head, Buffer.from(tail, 'latin1')]);
}
const word = (value: number) => [value & 0xff, value >>> 8];
const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);
const uuid = [...Buffer.from('33221100554477668899aabbccddeeff', 'hex')];
const table = Buffer.concat([
  structure(0, [1, 2, ...zeros(2), 3, ...zeros(11), 5, 17], ['Example BIOS', '2.0', '04/01/2024']),
  structure(1, [1, 2, 0, 3, ...uuid, 6, 4, 0], ['Example Corp.', 'Server & Sons', 'SN-17 ', 'SKU1']),
  structure(2, [1, 2, 0, 0, 0, 9, 3], ['Example Corp.', 'X1', 'Slot 0']),
  structure(3, [1, 3, 0, 0, 2, ...zeros(10), 1, 3, 9, 9, 9, 3], ['Example Corp.', 'A-1', 'CSKU']),
  structure(
    4,
    [
      1,
      3,
      0xb3,
      2,
      ...zeros(8),
      3,
      0,
      ...word(100),
      ...word(4000),
      ...word(3000),
      0x41,
      ...zeros(7),
      0,
      0,
      0,
    ],
    ['CPU 1', 'Intel', 'Xeon'],
  ),
  structure(11, [2], ['first', 'sec\u0001ond']),
  structure(
    17,
    [...zeros(8), ...word(16_384), 9, ...[0, 1, 2, 26], ...zeros(2), ...word(3200), ...[3, 0, 0, 4]],
    ['DIMM_A1', 'BANK 0', 'Maker', 'PN-1'],
  ),
  structure(17, [...zeros(8), ...word(0), 2, 0, 1, 0, 2], ['DIMM_A2']),
  structure(127, []),
]);

describe('the firmware', () => {
  it('tells what it is, and what is plugged in', () => {
    const info = readSysinfo(recordedFiles({ files: {}, bytes: { '/sys/firmware/dmi/tables/DMI': table } }));
    if (info === undefined) throw new Error('no sysinfo');
    expect(formatHostSysinfo(info)).toBe(`<sysinfo type='smbios'>
  <bios>
    <entry name='vendor'>Example BIOS</entry>
    <entry name='version'>2.0</entry>
    <entry name='date'>04/01/2024</entry>
    <entry name='release'>5.17</entry>
  </bios>
  <system>
    <entry name='manufacturer'>Example Corp.</entry>
    <entry name='product'>Server &amp; Sons</entry>
    <entry name='serial'>SN-17</entry>
    <entry name='uuid'>00112233-4455-6677-8899-aabbccddeeff</entry>
    <entry name='sku'>SKU1</entry>
  </system>
  <baseBoard>
    <entry name='manufacturer'>Example Corp.</entry>
    <entry name='product'>X1</entry>
    <entry name='location'>Slot 0</entry>
  </baseBoard>
  <chassis>
    <entry name='manufacturer'>Example Corp.</entry>
    <entry name='asset'>A-1</entry>
    <entry name='sku'>CSKU</entry>
  </chassis>
  <processor>
    <entry name='socket_destination'>CPU 1</entry>
    <entry name='type'>Central Processor</entry>
    <entry name='manufacturer'>Intel</entry>
    <entry name='version'>Xeon</entry>
    <entry name='external_clock'>100 MHz</entry>
    <entry name='max_speed'>4000 MHz</entry>
    <entry name='status'>Populated, Enabled</entry>
  </processor>
  <memory_device>
    <entry name='size'>16 GB</entry>
    <entry name='form_factor'>DIMM</entry>
    <entry name='locator'>DIMM_A1</entry>
    <entry name='bank_locator'>BANK 0</entry>
    <entry name='type'>DDR4</entry>
    <entry name='speed'>3200 MT/s</entry>
    <entry name='manufacturer'>Maker</entry>
    <entry name='part_number'>PN-1</entry>
  </memory_device>
  <oemStrings>
    <entry>first</entry>
    <entry>sec.ond</entry>
  </oemStrings>
</sysinfo>
`);
  });

  it('is read from the strings that everybody may see where the tables are for root', () => {
    const info = readSysinfo(recordedFiles({ files: { '/sys/class/dmi/id/sys_vendor': 'Example Corp.\n' } }));
    expect(info?.system).toEqual({ manufacturer: 'Example Corp.' });
    expect(info?.processors).toEqual([]);
  });

  it('that is not there is an error, not an empty document', () => {
    expect(() => service(recordedFiles({ files: {} })).sysinfoXml()).toThrow(
      expect.objectContaining({ code: 'request.unsupported' }),
    );
  });

  it('may break off anywhere, or be noise', () => {
    for (let length = 0; length <= table.length; length += 1) {
      const found = parseSmbiosTable(table.subarray(0, length));
      expect(found.length).toBeLessThanOrEqual(8);
      const files = recordedFiles({
        files: {},
        bytes: { '/sys/firmware/dmi/tables/DMI': table.subarray(0, length) },
      });
      expect(readSysinfo(files)).toBeDefined();
    }
    expect(parseSmbiosTable(Buffer.alloc(64, 0xff))).toEqual([]);
  });
});
