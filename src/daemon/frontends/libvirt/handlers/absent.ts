/**
 * What this daemon has none of: lists of nothing and "not found". Each row goes when its engine comes.
 */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireDomain } from '../../../../libvirt/protocol/objects.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, domainOf, notValid } from './support.ts';

type ErrorArgs = ConstructorParameters<typeof LibvirtError>;

function notFound(...[number, detail, domain]: ErrorArgs): never {
  throw new LibvirtError(number, detail, domain);
}

export function absentHandlers(engine: Engine) {
  return refusingUnknownFlags(absentOfDomains(engine));
}

/** Flags that a call has; all others of these calls have none. A client must not hear "none" for a question not understood. */
const knownFlags: Readonly<Record<string, number>> = {
  domainSnapshotNum: 0x7ff,
  domainSnapshotListNames: 0x7ff,
  domainListAllSnapshots: 0x7ff,
  domainListAllCheckpoints: 0xf,
  domainGetJobStats: 3,
  // Every call with typed parameters may say that it takes texts among them.
  domainGetLaunchSecurityInfo: 4,
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
    domainHasManagedSaveImage: ({ dom }) => {
      domainOf(engine, dom);
      return { result: 0 };
    },
    domainSnapshotNum: ({ dom }) => {
      domainOf(engine, dom);
      return { num: 0 };
    },
    domainSnapshotListNames: ({ dom }) => {
      domainOf(engine, dom);
      return { names: [] };
    },
    domainHasCurrentSnapshot: ({ dom }) => {
      domainOf(engine, dom);
      return { result: 0 };
    },
    domainListAllSnapshots: ({ dom }) => {
      domainOf(engine, dom);
      return { snapshots: [], ret: 0 };
    },
    domainSnapshotLookupByName: ({ dom, name }) => {
      domainOf(engine, dom);
      return notFound(errorNumber.noDomainSnapshot, `no domain snapshot with matching name '${name}'`);
    },
    domainListAllCheckpoints: ({ dom }) => {
      domainOf(engine, dom);
      return { checkpoints: [], ret: 0 };
    },
    domainCheckpointLookupByName: ({ dom, name }) => {
      domainOf(engine, dom);
      return notFound(errorNumber.noDomainCheckpoint, `no domain checkpoint with matching name '${name}'`);
    },
    domainGetJobInfo: ({ dom }) => {
      running(engine, dom);
      return noJob;
    },
    domainGetJobStats: ({ dom, flags }) => {
      // The last job's figures may be asked for when the guest is gone.
      if ((flags & JOB_STATS_COMPLETED) === 0) running(engine, dom);
      else domainOf(engine, dom);
      return { type: noJob.type, params: [] };
    },
    domainAbortJob: ({ dom }) => {
      running(engine, dom);
      throw notValid('no job is active on the domain');
    },
    domainGetLaunchSecurityInfo: ({ dom }) => {
      // No guest here has launch security: definitions with it are refused.
      domainOf(engine, dom);
      return { params: [] };
    },
  } satisfies RemoteHandlers;
}

const JOB_STATS_COMPLETED = 1; // virDomainGetJobStatsFlags

/** @throws LibvirtError */
function running(engine: Engine, dom: WireDomain): void {
  if (!domainOf(engine, dom).isActive) throw notValid('domain is not running');
}

/** virDomainJobInfo of a domain without a job: type 0, all else 0. */
const noJob = {
  type: 0,
  timeElapsed: 0,
  timeRemaining: 0,
  dataTotal: 0,
  dataProcessed: 0,
  dataRemaining: 0,
  memTotal: 0,
  memProcessed: 0,
  memRemaining: 0,
  fileTotal: 0,
  fileProcessed: 0,
  fileRemaining: 0,
};
