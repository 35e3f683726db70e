/** An event in one line for people. */
import type { EventNotification } from '../../api/index.ts';
import { oneLine } from '../../base/errors.ts';

/** Members of the envelope, which the line shows elsewhere. */
const envelope = new Set(['subscription', 'event', 'sequence', 'time', 'domain', 'network']);

/** `'web' reason=booted`: the domain or network, then what the event carries. */
export function eventText(event: EventNotification): string {
  const parts = [];
  if ('domain' in event) parts.push(`'${event.domain.name}'`);
  if ('network' in event) parts.push(`'${event.network.name}'`);
  for (const [key, value] of Object.entries(event)) {
    if (envelope.has(key) || value === null || value === '') continue;
    parts.push(`${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  }
  return oneLine(parts.join(' '));
}
