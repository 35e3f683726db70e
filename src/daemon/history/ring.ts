/**
 * The history of one guest as bytes of a fixed size: three rings, each with records for steps of time. Where a record stands follows from
 * its time alone, and each has its own checksum: a torn one is no record, and nothing else is lost. Pure.
 */
import { crc32 } from 'node:zlib';

/** What is kept of each step; averages, in the unit that the name says. */
export const metrics = [
  'cpuPercent',
  'residentBytes',
  'balloonBytes',
  'diskReadBytesPerSecond',
  'diskWriteBytesPerSecond',
  'diskRequestsPerSecond',
  'receivedBytesPerSecond',
  'sentBytesPerSecond',
] as const;

export type Metric = (typeof metrics)[number];

/** One value for each metric, in their order; NaN where nobody told one. */
export type Values = readonly number[];

export interface Point {
  /** Seconds since 1970, the start of the step. */
  readonly at: number;
  readonly values: Values;
}

/** An hour in steps of ten seconds, a day in five minutes, thirty days in hours. */
export const rings = [
  { span: 'hour', stepSeconds: 10, count: 360 },
  { span: 'day', stepSeconds: 300, count: 288 },
  { span: 'month', stepSeconds: 3600, count: 720 },
] as const;

export type Span = (typeof rings)[number]['span'];

const MAGIC = 'VIREOHS1';
const HEADER = 64;
/** u32 time, a float32 for each metric, u32 CRC-32 (all little-endian) of what stands before it. */
const RECORD = 4 + metrics.length * 4 + 4;
const BODY = RECORD - 4;

/** Size of every file. */
export const ringBytes = HEADER + RECORD * rings.reduce((sum, { count }) => sum + count, 0);

export function emptyRing(): Buffer {
  const bytes = Buffer.alloc(ringBytes);
  bytes.write(MAGIC, 0, 'ascii');
  bytes.writeUInt32LE(RECORD, 8);
  return bytes;
}

/** Why these bytes are no history; undefined when they are one. */
export function ringProblem(bytes: Buffer): string | undefined {
  if (bytes.length !== ringBytes) return `it has ${bytes.length} bytes, not ${ringBytes}`;
  if (bytes.toString('ascii', 0, 8) !== MAGIC || bytes.readUInt32LE(8) !== RECORD)
    return 'its header is another one';
  return undefined;
}

/** Puts samples in, and brings the coarser rings up to date for the steps that they are in. */
export function addPoints(bytes: Buffer, points: readonly Point[]): void {
  let step: number | undefined;
  for (const { at, values } of points) {
    // A coarse step is done before the fine records of a later one can take the place of its own.
    if (step !== undefined && stepOf(1, at) !== step) bringUpToDate(bytes, step);
    step = stepOf(1, at);
    write(bytes, 0, { at: stepOf(0, at), values });
  }
  if (step !== undefined) bringUpToDate(bytes, step);
}

/** Makes the means anew that this moment is part of. */
function bringUpToDate(bytes: Buffer, moment: number): void {
  for (let ring = 1; ring < rings.length; ring++) {
    const at = stepOf(ring, moment);
    write(bytes, ring, { at, values: averageOf(bytes, ring, at) });
  }
}

/** The records of a span that are not older than it, in their order; what nobody wrote is left out. */
export function pointsOf(bytes: Buffer, span: Span, nowSeconds: number): Point[] {
  const ring = rings.findIndex((one) => one.span === span);
  const { stepSeconds, count } = ringAt(ring);
  const last = stepOf(ring, nowSeconds);
  const found: Point[] = [];
  for (let at = last - (count - 1) * stepSeconds; at <= last; at += stepSeconds) {
    const values = read(bytes, ring, at);
    if (values !== undefined) found.push({ at, values });
  }
  return found;
}

/** The mean of the finer ring's records in a step. */
function averageOf(bytes: Buffer, ring: number, at: number): Values {
  const { stepSeconds } = ringAt(ring);
  const finer = ringAt(ring - 1).stepSeconds;
  const sums = metrics.map(() => ({ sum: 0, count: 0 }));
  for (let time = at; time < at + stepSeconds; time += finer)
    for (const [index, value] of (read(bytes, ring - 1, time) ?? []).entries()) {
      const one = sums[index];
      if (one === undefined || Number.isNaN(value)) continue;
      one.sum += value;
      one.count += 1;
    }
  return sums.map(({ sum, count }) => (count === 0 ? Number.NaN : sum / count));
}

function stepOf(ring: number, at: number): number {
  const { stepSeconds } = ringAt(ring);
  return Math.floor(at / stepSeconds) * stepSeconds;
}

function ringAt(index: number): (typeof rings)[number] {
  const found = rings[index];
  if (found === undefined) throw new Error(`there is no ring ${index}`);
  return found;
}

function placeOf(ring: number, at: number): number {
  const before = rings.slice(0, ring).reduce((sum, { count }) => sum + count, 0);
  const { stepSeconds, count } = ringAt(ring);
  return HEADER + RECORD * (before + (Math.floor(at / stepSeconds) % count));
}

function write(bytes: Buffer, ring: number, { at, values }: Point): void {
  const place = placeOf(ring, at);
  bytes.writeUInt32LE(at, place);
  for (const index of metrics.keys()) bytes.writeFloatLE(values[index] ?? Number.NaN, place + 4 + index * 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(place, place + BODY)), place + BODY);
}

/** Undefined where the place has another time's record, or none that is whole. */
function read(bytes: Buffer, ring: number, at: number): Values | undefined {
  const place = placeOf(ring, at);
  if (bytes.readUInt32LE(place) !== at || at === 0) return undefined;
  if (crc32(bytes.subarray(place, place + BODY)) !== bytes.readUInt32LE(place + BODY)) return undefined;
  return metrics.map((_, index) => bytes.readFloatLE(place + 4 + index * 4));
}
