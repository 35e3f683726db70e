/** SMBIOS tables as the firmware wrote them (DMTF DSP0134): structures with a type, fixed fields, and strings behind. */

/** One structure. Fields beyond its end, which older firmware does not have, are undefined. */
export class SmbiosStructure {
  readonly type: number;
  readonly strings: readonly string[];
  private readonly fields: Buffer;

  constructor(type: number, fields: Buffer, strings: readonly string[]) {
    this.type = type;
    this.fields = fields;
    this.strings = strings;
  }

  byte(at: number): number | undefined {
    return at < this.fields.length ? this.fields.readUInt8(at) : undefined;
  }

  word(at: number): number | undefined {
    return at + 2 <= this.fields.length ? this.fields.readUInt16LE(at) : undefined;
  }

  double(at: number): number | undefined {
    return at + 4 <= this.fields.length ? this.fields.readUInt32LE(at) : undefined;
  }

  /** The string whose number stands there; 0 means none. */
  text(at: number): string | undefined {
    const number = this.byte(at);
    return number === undefined || number === 0 ? undefined : this.strings[number - 1];
  }

  bytes(at: number, length: number): Buffer | undefined {
    return at + length <= this.fields.length ? this.fields.subarray(at, at + length) : undefined;
  }
}

/** The structure that ends a table (DSP0134, 7.45). */
const END_OF_TABLE = 127;
const HEADER_BYTES = 4;

/** All structures of a table. What is cut off or broken ends the reading; what stands before counts. */
export function parseSmbiosTable(table: Buffer): SmbiosStructure[] {
  const structures: SmbiosStructure[] = [];
  for (let at = 0; at + HEADER_BYTES <= table.length; ) {
    const type = table.readUInt8(at);
    const length = table.readUInt8(at + 1);
    if (length < HEADER_BYTES || at + length > table.length) break;
    const end = table.indexOf('\0\0', at + length, 'latin1');
    if (end === -1 || type === END_OF_TABLE) break;
    const strings = table.toString('latin1', at + length, end).split('\0');
    structures.push(new SmbiosStructure(type, table.subarray(at, at + length), strings.map(clean)));
    at = end + 2;
  }
  return structures;
}

/** Firmware pads with blanks, and sometimes leaves bytes that no document can hold. */
function clean(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '.').trim();
}
