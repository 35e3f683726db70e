/** What the firmware says of this host: from its SMBIOS tables as root, else from the strings that everybody may read. */
import type { HostSysinfo, SysinfoBlock } from '../model/capabilities/host-sysinfo.ts';
import type { HostFiles } from './host-files.ts';
import { readSmbios } from './identity.ts';
import { parseSmbiosTable, type SmbiosStructure } from './smbios-table.ts';

/** Where the kernel shows the tables (sysfs-firmware-dmi-tables); for root only, since serial numbers are in them. */
const TABLES = '/sys/firmware/dmi/tables/DMI';

/** Undefined on a host without SMBIOS. */
export function readSysinfo(files: HostFiles): HostSysinfo | undefined {
  const table = files.readBytes(TABLES);
  return table === undefined ? fromStrings(files) : fromTable(parseSmbiosTable(table));
}

function fromStrings(files: HostFiles): HostSysinfo | undefined {
  const smbios = readSmbios(files);
  if (smbios === undefined) return undefined;
  const { type: _, ...chassis } = smbios.chassis;
  return {
    bios: smbios.bios,
    system: smbios.system,
    baseBoards: [smbios.baseBoard],
    chassis,
    processors: [],
    memoryDevices: [],
    oemStrings: [],
  };
}

/** Structures by their types (DSP0134, 7): BIOS 0, system 1, baseboard 2, chassis 3, processor 4, OEM strings 11, memory 17. */
function fromTable(structures: readonly SmbiosStructure[]): HostSysinfo {
  const all = (type: number) => structures.filter((one) => one.type === type);
  const first = (type: number, read: (one: SmbiosStructure) => SysinfoBlock) => {
    const [one] = all(type);
    return one === undefined ? {} : read(one);
  };
  return {
    bios: first(0, bios),
    system: first(1, system),
    baseBoards: all(2).map(baseBoard),
    chassis: first(3, chassis),
    processors: all(4).map(processor),
    memoryDevices: all(17).map(memoryDevice),
    oemStrings: all(11).flatMap(({ strings }) => strings.filter((text) => text !== '')),
  };
}

function bios(one: SmbiosStructure): SysinfoBlock {
  const [major, minor] = [one.byte(0x14), one.byte(0x15)];
  const isKnown = major !== undefined && minor !== undefined && major !== 0xff;
  return {
    vendor: one.text(0x04),
    version: one.text(0x05),
    date: one.text(0x08),
    release: isKnown ? `${major}.${minor}` : undefined,
  };
}

function system(one: SmbiosStructure): SysinfoBlock {
  return {
    manufacturer: one.text(0x04),
    product: one.text(0x05),
    version: one.text(0x06),
    serial: one.text(0x07),
    uuid: uuidText(one.bytes(0x08, 16)),
    sku: one.text(0x19),
    family: one.text(0x1a),
  };
}

/** The first three fields are little-endian since 2.6 (DSP0134, 7.2.1). All zeros or ones mean that there is none. */
function uuidText(bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined || bytes.every((byte) => byte === bytes[0])) return undefined;
  const turned = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => bytes.readUInt8(at));
  return Buffer.from(turned)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function baseBoard(one: SmbiosStructure): SysinfoBlock {
  return {
    manufacturer: one.text(0x04),
    product: one.text(0x05),
    version: one.text(0x06),
    serial: one.text(0x07),
    asset: one.text(0x08),
    location: one.text(0x0a),
  };
}

function chassis(one: SmbiosStructure): SysinfoBlock {
  // The SKU stands behind the contained elements: their number and the size of each are at 0x13 and 0x14.
  const elements = (one.byte(0x13) ?? 0) * (one.byte(0x14) ?? 0);
  return {
    manufacturer: one.text(0x04),
    version: one.text(0x06),
    serial: one.text(0x07),
    asset: one.text(0x08),
    sku: one.text(0x15 + elements),
  };
}

const processorTypes: Readonly<Record<number, string>> = {
  1: 'Other',
  2: 'Unknown',
  3: 'Central Processor',
  4: 'Math Processor',
  5: 'DSP Processor',
  6: 'Video Processor',
};
const processorStates: Readonly<Record<number, string>> = {
  0: 'Unknown',
  1: 'Enabled',
  2: 'Disabled By User',
  3: 'Disabled By BIOS',
  4: 'Idle',
  7: 'Other',
};

function processor(one: SmbiosStructure): SysinfoBlock {
  const status = one.byte(0x18) ?? 0;
  const isThere = (status & 0x40) !== 0;
  return {
    socket_destination: one.text(0x04),
    type: processorTypes[one.byte(0x05) ?? 0],
    manufacturer: one.text(0x07),
    version: one.text(0x10),
    external_clock: megahertz(one.word(0x12)),
    max_speed: megahertz(one.word(0x14)),
    status: isThere ? `Populated, ${processorStates[status & 7] ?? 'Unknown'}` : 'Unpopulated',
    serial_number: one.text(0x20),
    part_number: one.text(0x22),
  };
}

function megahertz(value: number | undefined): string | undefined {
  return value === undefined || value === 0 ? undefined : `${value} MHz`;
}

const formFactors = [
  ...['Other', 'Unknown', 'SIMM', 'SIP', 'Chip', 'DIP', 'ZIP', 'Proprietary Card', 'DIMM', 'TSOP'],
  ...['Row Of Chips', 'RIMM', 'SODIMM', 'SRIMM', 'FB-DIMM', 'Die'],
];
const memoryTypes: Readonly<Record<number, string>> = {
  1: 'Other',
  2: 'Unknown',
  3: 'DRAM',
  7: 'RAM',
  9: 'Flash',
  15: 'SDRAM',
  18: 'DDR',
  19: 'DDR2',
  20: 'DDR2 FB-DIMM',
  24: 'DDR3',
  25: 'FBD2',
  26: 'DDR4',
  27: 'LPDDR',
  28: 'LPDDR2',
  29: 'LPDDR3',
  30: 'LPDDR4',
  31: 'Logical non-volatile device',
  32: 'HBM',
  33: 'HBM2',
  34: 'DDR5',
  35: 'LPDDR5',
};

/** An empty slot has no size, and then nothing to tell. */
function memoryDevice(one: SmbiosStructure): SysinfoBlock {
  const size = memorySize(one);
  if (size === undefined) return {};
  const speed = one.word(0x15);
  return {
    size,
    form_factor: formFactors[(one.byte(0x0e) ?? 0) - 1],
    locator: one.text(0x10),
    bank_locator: one.text(0x11),
    type: memoryTypes[one.byte(0x12) ?? 0],
    speed: speed === undefined || speed === 0 ? undefined : `${speed} MT/s`,
    manufacturer: one.text(0x17),
    serial_number: one.text(0x18),
    part_number: one.text(0x1a),
  };
}

/** In MiB, or KiB with the highest bit; 0x7fff sends to a longer field (DSP0134, 7.18.1). */
function memorySize(one: SmbiosStructure): string | undefined {
  const size = one.word(0x0c) ?? 0;
  if (size === 0 || size === 0xffff) return undefined;
  const mebibytes = size === 0x7fff ? (one.double(0x1c) ?? 0) & 0x7fff_ffff : size;
  if ((size & 0x8000) !== 0) return `${size & 0x7fff} kB`;
  return mebibytes % 1024 === 0 ? `${mebibytes / 1024} GB` : `${mebibytes} MB`;
}
