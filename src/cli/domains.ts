/** What domain commands share: which domain is meant, doing a thing to several, and the words for the result. */
import type { VireoClient } from '../api/client.ts';
import type { ParamsInput, Result } from '../api/index.ts';
import type { Cli } from './cli.ts';
import { type Done, forEachNamed } from './for-each.ts';

/** Help of an argument that names a domain. */
export const DOMAIN_HELP = 'Name, uuid or id.';

export type DomainRef = ParamsInput<'domain.get'>['domain'];
export type DomainSummary = Result<'domain.start'>;

/**
 * The domain a user means: a name, a uuid, or, as in virsh, the number of a running one. A name made of digits goes
 * before a number.
 */
export async function domainRefOf(client: VireoClient, text: string): Promise<DomainRef> {
  if (!/^[1-9]\d{0,8}$/.test(text)) return text;
  const { domains } = await client.call('domain.list', {});
  const id = Number(text);
  const isNumber =
    domains.every((domain) => domain.name !== text) && domains.some((domain) => domain.id === id);
  return isNumber ? { id } : text;
}

/** Connects, finds the domain, and does `work`. */
export function withDomain<T>(
  cli: Cli,
  text: string,
  work: (client: VireoClient, domain: DomainRef) => Promise<T>,
): Promise<T> {
  return cli.withClient(async (client) => work(client, await domainRefOf(client, text)));
}

/** Does the same to several domains, as `forEachNamed` does. */
export function forEachDomain(
  cli: Cli,
  names: readonly string[],
  work: (client: VireoClient, domain: DomainRef) => Promise<Done>,
): Promise<void> {
  return forEachNamed(cli, names, async (client, name) => work(client, await domainRefOf(client, name)));
}

/** `Domain 'web' is running.` */
export function stateSentence(domain: DomainSummary): string {
  const state = domain.state === 'shutoff' ? 'off' : domain.state;
  return `Domain '${domain.name}' is ${state}${domain.job ? ` (${domain.job.name})` : ''}.`;
}

/** How a domain was called on the command line, for sentences about it. */
export function nameOf(domain: DomainRef): string {
  return typeof domain === 'string' ? domain : String(domain.id);
}
