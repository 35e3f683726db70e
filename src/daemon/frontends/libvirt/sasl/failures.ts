/** How often clients of an address may fail to say who they are. */
import { isIPv6 } from 'node:net';

/** So often within the window; then nobody of that address is heard until it has passed. */
const MAX_FAILURES = 10;
const WINDOW_MS = 5 * 60_000;
/** The oldest are forgotten when there are more. */
const MAX_ADDRESSES = 10_000;

export class Failures {
  private readonly now: () => number;
  private readonly counts = new Map<string, { count: number; since: number }>();

  constructor(now: () => number = () => performance.now()) {
    this.now = now;
  }

  /** True while an address has failed too often. */
  isShut(address: string): boolean {
    const found = this.counts.get(keyOf(address));
    if (found === undefined) return false;
    if (this.now() - found.since < WINDOW_MS) return found.count >= MAX_FAILURES;
    this.counts.delete(keyOf(address));
    return false;
  }

  note(address: string): void {
    const key = keyOf(address);
    const found = this.counts.get(key);
    if (found !== undefined && this.now() - found.since < WINDOW_MS) {
      found.count++;
      return;
    }
    this.counts.delete(key);
    this.counts.set(key, { count: 1, since: this.now() });
    const [oldest] = this.counts.size > MAX_ADDRESSES ? this.counts.keys() : [];
    if (oldest !== undefined) this.counts.delete(oldest);
  }
}

/** One host has as many IPv6 addresses as it likes below its /64. */
function keyOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '');
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.split('%', 1)[0]?.split('::') ?? [];
  const groups = head.split(':').filter((group) => group !== '');
  const missing =
    tail === undefined ? 0 : 8 - groups.length - tail.split(':').filter((one) => one !== '').length;
  return [...groups, ...Array<string>(Math.max(0, missing)).fill('0')].slice(0, 4).join(':');
}
