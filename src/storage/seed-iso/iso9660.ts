/**
 * Writes a small ISO 9660 file system (ECMA-119) with one directory, pure: files in, bytes out. Names stand in it three
 * times: short for old readers, whole by Rock Ridge (IEEE P1282, "RRIP") for Linux and the BSDs, whole by Joliet for Windows.
 */
import { VirtError } from '../../base/errors.ts';

export interface IsoFile {
  /** 1 to 64 characters of A-Z a-z 0-9 . _ - */
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface IsoSpec {
  /** At most 16 characters, so that Joliet can hold it. */
  readonly volumeId: string;
  readonly files: readonly IsoFile[];
  readonly createdAt: Date;
}

export const SECTOR_BYTES = 2048;
/** ECMA-119 6.2.1: the first 16 sectors belong to whoever boots from it. */
const FIRST_DESCRIPTOR = 16;
const MAX_FILES = 16;
const MAX_BYTES = 64 * 1024 * 1024;

/** Sectors before the files. One directory of at most 16 files fits into one sector in either form. */
const sectors = {
  primary: FIRST_DESCRIPTOR,
  joliet: 17,
  terminator: 18,
  pathTable: 19,
  pathTableBigEndian: 20,
  jolietPathTable: 21,
  jolietPathTableBigEndian: 22,
  directory: 23,
  directoryEnd: 25,
  jolietDirectory: 25,
  jolietDirectoryEnd: 27,
  /** What did not fit into the directory record of Rock Ridge's root. */
  continuation: 27,
  files: 28,
} as const;

/** @throws VirtError request.invalid for names or sizes that it cannot hold */
export function buildIso(spec: IsoSpec): Buffer {
  check(spec);
  const placed = place(spec.files);
  const iso = Buffer.alloc(placed.endSector * SECTOR_BYTES);
  const put = (sector: number, bytes: Uint8Array) => iso.set(bytes, sector * SECTOR_BYTES);
  const size = { sectors: placed.endSector };
  put(sectors.primary, descriptor({ spec, isJoliet: false, ...size }));
  put(sectors.joliet, descriptor({ spec, isJoliet: true, ...size }));
  put(sectors.terminator, Buffer.from('\xffCD001\x01', 'latin1'));
  put(sectors.pathTable, pathTable(sectors.directory, 'le'));
  put(sectors.pathTableBigEndian, pathTable(sectors.directory, 'be'));
  put(sectors.jolietPathTable, pathTable(sectors.jolietDirectory, 'le'));
  put(sectors.jolietPathTableBigEndian, pathTable(sectors.jolietDirectory, 'be'));
  put(sectors.directory, directory(placed.files, spec.createdAt, rockRidge));
  put(sectors.jolietDirectory, directory(placed.files, spec.createdAt, joliet));
  put(sectors.continuation, extensionReference());
  for (const { file, sector } of placed.files) put(sector, file.bytes);
  return iso;
}

function check({ volumeId, files }: IsoSpec): void {
  const bytes = files.reduce((sum, file) => sum + file.bytes.length, 0);
  const wrong = files.find(({ name }) => !/^[A-Za-z0-9._-]{1,64}$/.test(name));
  const reason =
    (!/^[A-Za-z0-9_-]{1,16}$/.test(volumeId) &&
      `the volume id '${volumeId}' is not 1 to 16 plain characters`) ||
    (wrong !== undefined && `the file name '${wrong.name}' is not plain`) ||
    (new Set(files.map(({ name }) => name)).size < files.length && 'two files have the same name') ||
    (files.length > MAX_FILES && `there are more than ${MAX_FILES} files`) ||
    (bytes > MAX_BYTES && `the files have more than ${MAX_BYTES / 1024 / 1024} MiB`);
  if (reason !== false) throw new VirtError('request.invalid', { wanted: 'write an ISO image', reason });
}

interface PlacedFile {
  readonly file: IsoFile;
  readonly sector: number;
  /** `F00.;1`: made up, since readers that know no other names do not matter here. */
  readonly shortName: string;
}

function place(files: readonly IsoFile[]): {
  readonly files: readonly PlacedFile[];
  readonly endSector: number;
} {
  let next: number = sectors.files;
  const sorted = files.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const placed = sorted.map((file, index) => {
    const sector = next;
    next += Math.max(1, Math.ceil(file.bytes.length / SECTOR_BYTES));
    return { file, sector, shortName: `F${String(index).padStart(2, '0')}.;1` };
  });
  return { files: placed, endSector: next };
}

/** A number in both byte orders (ECMA-119 7.3.3). */
function both32(target: Buffer, offset: number, value: number): void {
  target.writeUInt32LE(value, offset);
  target.writeUInt32BE(value, offset + 4);
}

function both16(target: Buffer, offset: number, value: number): void {
  target.writeUInt16LE(value, offset);
  target.writeUInt16BE(value, offset + 2);
}

const PATH_TABLE_BYTES = 10;
const DIRECTORY_BYTES = 2 * SECTOR_BYTES;

interface DescriptorSpec {
  readonly spec: IsoSpec;
  readonly isJoliet: boolean;
  /** Of the whole volume. */
  readonly sectors: number;
}

/** Primary and supplementary volume descriptor (ECMA-119 8.4, 8.5). */
function descriptor({ spec, isJoliet, sectors: count }: DescriptorSpec): Buffer {
  const bytes = Buffer.alloc(SECTOR_BYTES);
  const text = (value: string, offset: number, length: number) => {
    bytes.set(isJoliet ? ucs2(value, length) : Buffer.from(value.padEnd(length), 'latin1'), offset);
  };
  bytes[0] = isJoliet ? 2 : 1;
  bytes.write('CD001\x01', 1, 'latin1');
  text('', 8, 32);
  text(spec.volumeId, 40, 32);
  both32(bytes, 80, count);
  // UCS-2 level 3, which makes a supplementary descriptor one of Joliet.
  if (isJoliet) bytes.write('%/E', 88, 'latin1');
  both16(bytes, 120, 1);
  both16(bytes, 124, 1);
  both16(bytes, 128, SECTOR_BYTES);
  both32(bytes, 132, PATH_TABLE_BYTES);
  bytes.writeUInt32LE(isJoliet ? sectors.jolietPathTable : sectors.pathTable, 140);
  bytes.writeUInt32BE(isJoliet ? sectors.jolietPathTableBigEndian : sectors.pathTableBigEndian, 148);
  const root = isJoliet ? sectors.jolietDirectory : sectors.directory;
  bytes.set(
    record({
      id: Buffer.from([0]),
      sector: root,
      length: DIRECTORY_BYTES,
      isDirectory: true,
      date: spec.createdAt,
    }),
    156,
  );
  for (const [offset, length] of [
    [190, 128],
    [318, 128],
    [446, 128],
    [574, 128],
    [702, 37],
    [739, 37],
    [776, 37],
  ] as const)
    text('', offset, length);
  for (const offset of [813, 830]) bytes.set(longDate(spec.createdAt), offset);
  for (const offset of [847, 864]) bytes.write('0'.repeat(16), offset, 'latin1'); // no expiry, no later validity
  bytes[881] = 1;
  return bytes;
}

/** Text of Joliet: big-endian, filled up with spaces; an odd last byte stays zero. */
function ucs2(text: string, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const chars = text.padEnd(Math.floor(length / 2));
  for (let i = 0; i < Math.floor(length / 2); i += 1) bytes.writeUInt16BE(chars.charCodeAt(i), 2 * i);
  return bytes;
}

/** ECMA-119 8.4.26.1: digits down to hundredths of a second, and the zone in quarters of an hour. */
function longDate(date: Date): Buffer {
  const digits = date.toISOString().replace(/\D/g, '').slice(0, 16);
  return Buffer.concat([Buffer.from(digits, 'latin1'), Buffer.from([0])]);
}

/** ECMA-119 9.1.5. */
function shortDate(date: Date): Buffer {
  return Buffer.from([
    Math.min(255, Math.max(0, date.getUTCFullYear() - 1900)),
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
    0,
  ]);
}

/** The root's only entry (ECMA-119 9.4). */
function pathTable(sector: number, order: 'le' | 'be'): Buffer {
  const bytes = Buffer.alloc(PATH_TABLE_BYTES);
  bytes[0] = 1;
  if (order === 'le') bytes.writeUInt32LE(sector, 2);
  else bytes.writeUInt32BE(sector, 2);
  if (order === 'le') bytes.writeUInt16LE(1, 6);
  else bytes.writeUInt16BE(1, 6);
  return bytes;
}

interface RecordSpec {
  readonly id: Buffer;
  readonly sector: number;
  readonly length: number;
  readonly isDirectory?: boolean;
  readonly date: Date;
  /** Fields of Rock Ridge. */
  readonly systemUse?: Buffer;
}

/** A directory record (ECMA-119 9.1); its length is even. */
function record({ id, sector, length, isDirectory = false, date, systemUse }: RecordSpec): Buffer {
  const nameEnd = 33 + id.length + (id.length % 2 === 0 ? 1 : 0);
  const use = systemUse ?? Buffer.alloc(0);
  const bytes = Buffer.alloc(nameEnd + use.length + (use.length % 2));
  bytes[0] = bytes.length;
  both32(bytes, 2, sector);
  both32(bytes, 10, length);
  bytes.set(shortDate(date), 18);
  bytes[25] = isDirectory ? 2 : 0;
  both16(bytes, 28, 1);
  bytes[32] = id.length;
  id.copy(bytes, 33);
  use.copy(bytes, nameEnd);
  return bytes;
}

/** How a form of the directory names its files. */
interface Form {
  readonly sector: number;
  readonly id: (file: PlacedFile) => Buffer;
  readonly use: (what: PlacedFile | 'self' | 'parent') => Buffer | undefined;
}

const joliet: Form = {
  sector: sectors.jolietDirectory,
  id: ({ file }) => ucs2(file.name, 2 * file.name.length),
  use: () => undefined,
};

const rockRidge: Form = {
  sector: sectors.directory,
  id: ({ shortName }) => Buffer.from(shortName, 'latin1'),
  use: (what) => {
    if (what === 'parent') return posixAttributes(0o040755, 2);
    if (what === 'self') return Buffer.concat([sharing, posixAttributes(0o040755, 2), continuation()]);
    return Buffer.concat([posixAttributes(0o100444, 1), alternateName(what.file.name)]);
  },
};

/** The records of the only directory: itself, its parent (itself again), the files. No record crosses a sector's end. */
function directory(files: readonly PlacedFile[], date: Date, form: Form): Buffer {
  const bytes = Buffer.alloc(DIRECTORY_BYTES);
  let at = 0;
  const put = (spec: Omit<RecordSpec, 'date' | 'systemUse'>, use: Buffer | undefined) => {
    const one = record({ ...spec, date, ...(use && { systemUse: use }) });
    if ((at % SECTOR_BYTES) + one.length > SECTOR_BYTES) at = Math.ceil(at / SECTOR_BYTES) * SECTOR_BYTES;
    one.copy(bytes, at);
    at += one.length;
  };
  const self = { sector: form.sector, length: DIRECTORY_BYTES, isDirectory: true };
  put({ ...self, id: Buffer.from([0]) }, form.use('self'));
  put({ ...self, id: Buffer.from([1]) }, form.use('parent'));
  for (const placed of files)
    put({ id: form.id(placed), sector: placed.sector, length: placed.file.bytes.length }, form.use(placed));
  return bytes;
}

/** A field of the system use area (IEEE P1281, "SUSP" 4.1): signature, length, version, data. */
function field(signature: string, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(signature, 'latin1'), Buffer.from([data.length + 4, 1]), data]);
}

/** SUSP 5.3: the first field of the root's first record says that there are such fields. */
const sharing = field('SP', Buffer.from([0xbe, 0xef, 0]));

/** RRIP 4.1.1: mode, links, owner, group: root's. */
function posixAttributes(mode: number, links: number): Buffer {
  const data = Buffer.alloc(32);
  both32(data, 0, mode);
  both32(data, 8, links);
  return field('PX', data);
}

/** RRIP 4.1.4. */
function alternateName(name: string): Buffer {
  return field('NM', Buffer.concat([Buffer.from([0]), Buffer.from(name, 'latin1')]));
}

/** SUSP 5.1: where the fields go on. */
function continuation(): Buffer {
  const data = Buffer.alloc(24);
  both32(data, 0, sectors.continuation);
  both32(data, 8, 0);
  both32(data, 16, extensionReference().length);
  return field('CE', data);
}

/** SUSP 5.5: which extension is in use. The identifier is fixed; description and source may be empty. */
function extensionReference(): Buffer {
  const id = 'RRIP_1991A';
  return field('ER', Buffer.concat([Buffer.from([id.length, 0, 0, 1]), Buffer.from(id, 'latin1')]));
}
