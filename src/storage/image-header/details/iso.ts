/** ISO 9660 images (ECMA-119), with Joliet and El Torito: label, size, and what they boot on. */
import type { ImageDetails } from '../details.ts';
import { badImage } from '../header.ts';
import type { ImageWindow } from '../window.ts';

const SECTOR_BYTES = 2048;
const FIRST_DESCRIPTOR = 16;
/** A list of descriptors without an end is broken. */
const MAX_DESCRIPTORS = 32;

const types = { boot: 0, primary: 1, supplementary: 2, end: 255 } as const;

/** Escape sequences that make a supplementary descriptor one of Joliet: UCS-2 levels 1 to 3. */
const jolietEscapes: readonly string[] = ['%/@', '%/C', '%/E'];

type BootTarget = 'bios' | 'efi' | 'other';

export async function describeIso(window: ImageWindow): Promise<ImageDetails> {
  let primary: Buffer | undefined;
  let joliet: Buffer | undefined;
  let bootsOn: readonly BootTarget[] = [];
  for (let i = 0; ; i += 1) {
    if (i === MAX_DESCRIPTORS) throw badImage('its list of descriptors has no end');
    const one = await window.at((FIRST_DESCRIPTOR + i) * SECTOR_BYTES, SECTOR_BYTES, 'list of descriptors');
    if (one.toString('latin1', 1, 6) !== 'CD001')
      throw badImage(i === 0 ? 'it is no iso image' : 'its descriptors are broken');
    const type = one.readUInt8(0);
    if (type === types.end) break;
    if (type === types.primary) primary ??= one;
    if (type === types.supplementary && jolietEscapes.includes(one.toString('latin1', 88, 91)))
      joliet ??= one;
    if (type === types.boot && one.toString('latin1', 7, 30) === 'EL TORITO SPECIFICATION')
      bootsOn = await bootTargets(window, one.readUInt32LE(71));
  }
  if (primary === undefined) throw badImage('it has no primary volume');
  return describeVolume(window, { primary, joliet, bootsOn });
}

function describeVolume(
  window: ImageWindow,
  found: {
    readonly primary: Buffer;
    readonly joliet: Buffer | undefined;
    readonly bootsOn: readonly BootTarget[];
  },
): ImageDetails {
  const { primary, joliet, bootsOn } = found;
  const blockBytes = primary.readUInt16LE(128);
  if (![512, 1024, 2048].includes(blockBytes)) throw badImage(`its blocks have ${blockBytes} bytes`);
  const volumeBytes = primary.readUInt32LE(80) * blockBytes;
  const label = labelOf(primary, joliet);
  return {
    // A drive shows the whole medium, whatever the file system in it says.
    virtualBytes: window.lengthBytes,
    clusterBytes: blockBytes,
    ...(label !== '' && { label }),
    bootsOn,
    ...(volumeBytes > window.lengthBytes && { isTruncated: true }),
  };
}

/** Joliet's label has fewer characters, but all that there are; it counts where it says more than capital letters. */
function labelOf(primary: Buffer, joliet: Buffer | undefined): string {
  const plain = primary.toString('latin1', 40, 72).replace(/[\0 ]+$/, '');
  if (joliet === undefined) return plain;
  const swapped = Buffer.from(joliet.subarray(40, 72)).swap16();
  const wide = swapped.toString('utf16le').replace(/[\0 ]+$/, '');
  return wide.length >= plain.length ? wide : plain;
}

const BOOTABLE = 0x88;
const ENTRY_BYTES = 32;
const platforms: Readonly<Record<number, BootTarget>> = { 0: 'bios', 0xef: 'efi' };

/** El Torito 1.0: a validation entry, the default entry, then sections with a header each, all of 32 bytes. */
async function bootTargets(window: ImageWindow, sector: number): Promise<BootTarget[]> {
  const catalogue = await window.at(sector * SECTOR_BYTES, SECTOR_BYTES, 'boot catalogue');
  if (catalogue.readUInt8(0) !== 1 || catalogue.readUInt16LE(30) !== 0xaa55)
    throw badImage('its boot catalogue is broken');
  const found = new Set<BootTarget>();
  let platform: BootTarget = platforms[catalogue.readUInt8(1)] ?? 'other';
  for (let at = ENTRY_BYTES; at < SECTOR_BYTES; at += ENTRY_BYTES) {
    const kind = catalogue.readUInt8(at);
    if (kind === 0x90 || kind === 0x91) platform = platforms[catalogue.readUInt8(at + 1)] ?? 'other';
    if (kind === BOOTABLE) found.add(platform);
  }
  return [...found].sort();
}
