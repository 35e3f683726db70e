/** LUKS 1 and 2: the header before encrypted data (LUKS1 On-Disk Format 1.2.3; LUKS2 On-Disk Format 1.1.1). */
import type { ImageDetails } from '../details.ts';
import { badImage, uint64 } from '../header.ts';
import type { ImageWindow } from '../window.ts';

const SECTOR_BYTES = 512;
const HEAD_BYTES = 512;
/** The area of JSON begins behind the binary header. */
const JSON_START = 4096;
const MAX_HEADER_BYTES = 4 * 1024 * 1024;
/** No program writes more JSON than this; the header's size leaves room for the far future. */
const MAX_JSON_BYTES = 1024 * 1024;

export async function describeLuks(window: ImageWindow): Promise<ImageDetails> {
  const head = await window.at(0, HEAD_BYTES, 'header');
  if (head.toString('latin1', 0, 6) !== 'LUKS\xba\xbe') throw badImage('it is no luks image');
  const version = head.readUInt16BE(6);
  const uuid = textAt(head, 168, 40);
  const named = uuid === '' ? {} : { uuid };
  if (version === 1) return { ...describeFirst(window, head), ...named };
  if (version === 2) return { ...(await describeSecond(window, head)), ...named };
  throw badImage(`it is of version ${version} of LUKS`);
}

function describeFirst(window: ImageWindow, head: Buffer): ImageDetails {
  const cipher = `${textAt(head, 8, 32)}-${textAt(head, 40, 32)}`;
  return {
    virtualBytes: behind(window, head.readUInt32BE(104) * SECTOR_BYTES),
    kind: 'luks1',
    encryption: { method: 'luks', cipher },
  };
}

async function describeSecond(window: ImageWindow, head: Buffer): Promise<ImageDetails> {
  const headerBytes = uint64(head, 8, 'be');
  if (headerBytes < 16 * 1024 || headerBytes > MAX_HEADER_BYTES)
    throw badImage('its header has an absurd size');
  const length = Math.min(headerBytes - JSON_START, MAX_JSON_BYTES);
  const { offset, cipher } = segmentOf(await window.at(JSON_START, length, 'description'));
  const label = textAt(head, 24, 48);
  return {
    virtualBytes: behind(window, offset),
    kind: 'luks2',
    encryption: { method: 'luks', ...(cipher !== undefined && { cipher }) },
    ...(label !== '' && { label }),
  };
}

/** The first segment of data: where it begins, and its cipher. */
function segmentOf(json: Buffer): { readonly offset: number; readonly cipher: string | undefined } {
  const end = json.indexOf(0);
  let tree: unknown;
  try {
    tree = JSON.parse(json.toString('utf8', 0, end === -1 ? json.length : end));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw badImage('its description is no JSON');
  }
  const segment = property(property(tree, 'segments'), '0');
  const offset = property(segment, 'offset');
  const cipher = property(segment, 'encryption');
  if (typeof offset !== 'string' || !/^\d{1,15}$/.test(offset))
    throw badImage('it does not tell where its data begins');
  return { offset: Number(offset), cipher: typeof cipher === 'string' ? cipher.slice(0, 64) : undefined };
}

function property(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}

function behind(window: ImageWindow, offset: number): number {
  if (offset > window.lengthBytes) throw badImage('its data begins behind its end');
  return window.lengthBytes - offset;
}

function textAt(bytes: Buffer, offset: number, length: number): string {
  const text = bytes.subarray(offset, offset + length);
  const end = text.indexOf(0);
  return text.toString('utf8', 0, end === -1 ? length : end).replace(/[^ -~\u00a0-\uffff]/g, '?');
}
