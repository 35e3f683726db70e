/**
 * What this daemon has none of: lists of nothing and "not found". Each row goes when its engine comes.
 */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, domainOf } from './support.ts';

type ErrorArgs = ConstructorParameters<typeof LibvirtError>;

function notFound(...[number, detail, domain]: ErrorArgs): never {
  throw new LibvirtError(number, detail, domain);
}

export function absentHandlers(engine: Engine) {
  return refusingUnknownFlags(absentOfDomains(engine));
}

/** Flags that a call has; all others of these calls have none. A client must not hear "none" for a question not understood. */
const knownFlags: Readonly<Record<string, number>> = {
  domainListAllCheckpoints: 0xf,
};

function refusingUnknownFlags<T extends RemoteHandlers>(handlers: T): T {
  const guarded = Object.entries(handlers).map(([name, handler]) => {
    const run = handler as (args: unknown, call: Call) => unknown;
    const checked = (args: unknown, call: Call) => {
      if (typeof args === 'object' && args !== null && 'flags' in args && typeof args.flags === 'number')
        checkFlags(args.flags, knownFlags[name] ?? 0, call);
      return run(args, call);
    };
    return [name, checked] as const;
  });
  return Object.fromEntries(guarded) as unknown as T;
}

function absentOfDomains(engine: Engine) {
  return {
    domainListAllCheckpoints: ({ dom }) => {
      domainOf(engine, dom);
      return { checkpoints: [], ret: 0 };
    },
    domainCheckpointLookupByName: ({ dom, name }) => {
      domainOf(engine, dom);
      return notFound(errorNumber.noDomainCheckpoint, `no domain checkpoint with matching name '${name}'`);
    },
  } satisfies RemoteHandlers;
}
