/** Lengths of time as people write them: `30`, `30s`, `5m`, `500ms`, `1h`. */
import { badOption } from './fields.ts';

const factors: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000 };

/** The longest a client waits for anything: a day. */
const MAX_MS = 24 * 3_600_000;

/** Milliseconds; a number without a unit means seconds. @throws VirtError request.invalid */
export function parseDuration(what: string, text: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|min|h)?$/.exec(text);
  const ms = match ? Math.round(Number(match[1]) * (factors[match[2] ?? 's'] ?? 1000)) : Number.NaN;
  if (!(ms >= 0 && ms <= MAX_MS))
    throw badOption(what, text, 'it is not a length of time up to a day', 'write it like 500ms, 30s or 5m');
  return ms;
}

/** `3 s`, `4 min`, `2 h 5 min`, `3 d 4 h`: two units at most, rounded down. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
