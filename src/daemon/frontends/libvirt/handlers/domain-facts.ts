/** Small facts of a definition that clients ask for again and again, kept as long as the definition stays the same. */
import type { DomainDef } from '../../../../model/domain/domain.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Engine } from '../context.ts';

export interface InfoFacts {
  readonly maxMemoryKiB: number;
  readonly currentMemoryKiB: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
  readonly osType: string;
}

const stored = new WeakMap<Domain, { readonly xml: string; readonly facts: InfoFacts }>();

/** Facts of the running side, or of the stored one. */
export function infoFacts(engine: Engine, domain: Domain, from: 'now' | 'stored' = 'now'): InfoFacts {
  if (domain.live !== undefined && (from === 'now' || !domain.isPersistent))
    return factsOf(domain.live.guest.definition);
  const { xml } = domain;
  if (domain.facts?.size !== undefined) {
    const { memoryBytes, vcpus, size } = domain.facts;
    return { maxMemoryKiB: memoryBytes / 1024, vcpus, ...size };
  }
  const known = stored.get(domain);
  if (known !== undefined && known.xml === xml) return known.facts;
  const facts = factsOf(engine.domains.definitions.definition(domain, { inactive: true }));
  if (xml !== undefined) stored.set(domain, { xml, facts });
  return facts;
}

function factsOf({ memory, currentMemoryKiB, vcpu, os }: DomainDef): InfoFacts {
  return {
    maxMemoryKiB: memory.sizeKiB,
    currentMemoryKiB: currentMemoryKiB ?? memory.sizeKiB,
    vcpus: vcpu.current ?? vcpu.count,
    maxVcpus: vcpu.count,
    osType: os.type.kind,
  };
}
