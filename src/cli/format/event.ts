/** An event in one line for people. */
import type { EventNotification, Result } from '../../api/index.ts';
import { oneLine } from '../../base/errors.ts';
import { measureText } from './measure.ts';

type Lease = Result<'network.leases'>['leases'][number];

/** What `jobText` tells of a job event. */
const jobParts = ['id', 'job', 'object', 'done', 'total', 'unit'];

/** Members of the envelope, which the line shows elsewhere. */
const envelope = new Set([
  'subscription',
  'event',
  'sequence',
  'time',
  'domain',
  'network',
  'lease',
  'secret',
  'filter',
  'pool',
  'volume',
  ...jobParts,
]);

/** `start of domain 'web' (1f2e-3)`, with how far it is: `clone of volume 'a' (1f2e-4) 10 MiB of 2 GiB`. */
function jobText(event: Extract<EventNotification, { object: unknown }>): string {
  const text = `${event.job} of ${event.object.type} '${event.object.name}' (${event.id})`;
  const measure = event.event === 'job.progress' ? measureText(event) : '';
  return measure === '' ? text : `${text} ${measure}`;
}

/** `192.168.122.7/24 52:54:00:00:00:0a web, until 2026-01-01T00:00:00.000Z` */
function leaseText({ address, prefix, mac, hostName, domain, expiresAt }: Lease): string {
  const who = [mac, domain ?? hostName].filter((word) => word !== null);
  return `${[`${address}/${prefix}`, ...who].join(' ')}, until ${expiresAt ?? 'ever'}`;
}

/** `1f2e... for ceph client.admin` */
function secretText({ uuid, usageType, usage }: Result<'secret.undefine'>): string {
  return usageType === null ? uuid : `${uuid} for ${usageType} ${usage}`;
}

/** `'web' reason=booted`: the domain or network, then what the event carries. */
export function eventText(event: EventNotification): string {
  const parts = [];
  if ('object' in event) parts.push(jobText(event));
  else if ('domain' in event) parts.push(`'${event.domain.name}'`);
  else if ('network' in event) parts.push(`'${event.network.name}'`);
  else if ('secret' in event) parts.push(secretText(event.secret));
  else if ('filter' in event) parts.push(`'${event.filter.name}'`);
  else if ('device' in event) parts.push(event.device.name);
  else if ('volume' in event) parts.push(`'${event.pool.name}/${event.volume}'`);
  else if ('pool' in event) parts.push(`'${event.pool.name}'`);
  for (const [key, value] of Object.entries(event)) {
    if (envelope.has(key) || value === null || value === '') continue;
    if (key === 'device' && typeof value === 'object') continue;
    parts.push(`${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  }
  if ('lease' in event) parts.push(leaseText(event.lease));
  return oneLine(parts.join(' '));
}
