/** What handlers share: checking flags, finding domains, and how domains and networks are named on the wire. */
import { type ErrorCode, isVirtError, type VirtError } from '../../../../base/errors.ts';
import { BadValue } from '../../../../base/xml/codec.ts';
import { apiFunction } from '../../../../libvirt/access.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireDomain, WireNetwork } from '../../../../libvirt/protocol/objects.ts';
import { cpusetMembers } from '../../../../model/domain/cpuset.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Network } from '../../../services/network.ts';
import type { Call, Engine } from '../context.ts';

/** @throws LibvirtError for bits that are not among `known` */
export function checkFlags(flags: number, known: number, call: Pick<Call, 'name'>): void {
  const unknown = (flags & ~known) >>> 0;
  if (unknown === 0) return;
  throw bareInvalid(`unsupported flags (0x${unknown.toString(16)}) in function ${apiFunction(call.name)}`);
}

export function invalid(detail: string): LibvirtError {
  return new LibvirtError(errorNumber.invalidArg, detail);
}

/** As `invalid`, for texts that clients know without leading words. */
export function bareInvalid(detail: string): LibvirtError {
  return new LibvirtError(errorNumber.invalidArg, detail, errorDomain.qemu, { isBare: true });
}

/** The numbers of CPUs that a client wrote down, as `0,2-3`. @throws LibvirtError */
export function cpusIn(text: string): number[] {
  try {
    return cpusetMembers(text);
  } catch (error) {
    throw error instanceof BadValue ? invalid(`Failed to parse bitmap '${text}'`) : error;
  }
}

/** @throws LibvirtError operation invalid: the words that clients know */
export function notValid(detail: string, domain?: LibvirtError['domain']): LibvirtError {
  return new LibvirtError(errorNumber.operationInvalid, detail, domain);
}

/** Runs `work`; an error of ours with that code becomes the libvirt error that `told` makes. */
export async function telling<T>(
  code: ErrorCode,
  told: (error: VirtError) => LibvirtError,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isVirtError(error, code) ? told(error) : error;
  }
}

const wireDomains = new WeakMap<Domain, WireDomain>();

/** The domain as it is named on the wire: one frozen object, whose bytes are kept, as long as name and number stay. */
export function wireDomainOf(domain: Domain): WireDomain {
  const { name, uuid } = domain;
  const id = domain.live?.id ?? -1;
  const known = wireDomains.get(domain);
  if (known !== undefined && known.id === id && known.name === name) return known;
  const made = Object.freeze({ name, uuid, id });
  wireDomains.set(domain, made);
  return made;
}

/** The domain a client means: its uuid decides. @throws LibvirtError no domain */
export function domainOf(engine: Engine, { uuid, name }: WireDomain): Domain {
  try {
    return engine.domains.find({ uuid });
  } catch (error) {
    if (!isVirtError(error, 'domain.not-found')) throw error;
    throw new LibvirtError(errorNumber.noDomain, `no domain with matching uuid '${uuid}' (${name})`);
  }
}

export function wireNetworkOf(network: Network): WireNetwork {
  return { name: network.name, uuid: network.uuid };
}

/**
 * How long "is it active?" waits for a job in work on a network or pool. To libvirt's clients an object that is being
 * started does not answer until it has: virt-manager asks once, right after it began a start.
 */
export const SETTLE_MS = 5_000;

/** virDomainModificationImpact: where a change, or a look, is to go. */
export const affect = { live: 1, config: 2 } as const;

/**
 * What "current", "live" and "config" come to for a domain as it is.
 * @throws LibvirtError when it does not run, or has no stored definition, and that was asked for
 */
export function impactOn(
  domain: Domain,
  flags: number,
): { readonly live: boolean; readonly stored: boolean } {
  const isCurrent = (flags & (affect.live | affect.config)) === 0;
  const live = isCurrent ? domain.isActive : (flags & affect.live) !== 0;
  const stored = isCurrent ? !domain.isActive : (flags & affect.config) !== 0;
  if (live && !domain.isActive) throw notValid('domain is not running');
  if (stored && !domain.isPersistent) throw notValid('transient domains do not have any persistent config');
  return { live, stored };
}

/** A text of at most so many items, as the old calls that list names want them. */
export function atMost<T>(items: readonly T[], max: number): T[] {
  if (max < 0) throw new LibvirtError(errorNumber.invalidArg, `a list of ${max} items`, errorDomain.rpc);
  return items.slice(0, max);
}

/** A size or place in bytes, as far as files go. @throws LibvirtError beyond */
export function bytesOf(value: number | bigint, what: string): number {
  if (typeof value === 'number') return value;
  throw invalid(`${what} ${value} is out of range`);
}
