/** The job of a domain that moves its memory: how far it is, how the last one went, and calling it off. */
import type { TypedParam, WireDomain } from '../../../../libvirt/protocol/objects.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Transfer } from '../../../services/domain-transfers.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { memoryMeasures } from '../memory-measures.ts';
import { big, bool, int, text } from './params.ts';
import { checkFlags, domainOf, notValid, telling } from './support.ts';

/** virDomainJobType. */
const jobType = { none: 0, unbounded: 2, completed: 3, failed: 4, cancelled: 5 } as const;
/** virDomainJobOperation. */
const operations: Readonly<Record<Transfer['kind'], number>> = { save: 2, snapshot: 6, dump: 8, backup: 9 };
/** virDomainGetJobStatsFlags. */
const statsFlag = { completed: 1, keepCompleted: 2 } as const;

export function domainJobHandlers(engine: Engine) {
  const { domains } = engine;
  return {
    domainGetJobInfo: async ({ dom }) => infoOf(await current(engine, running(engine, dom))),
    domainGetJobStats: async ({ dom, flags }, call) => {
      checkFlags(flags, statsFlag.completed | statsFlag.keepCompleted, call);
      // The last job's figures may be asked for when the guest is gone.
      if ((flags & statsFlag.completed) === 0) return statsOf(await current(engine, running(engine, dom)));
      const forget = (flags & statsFlag.keepCompleted) === 0;
      return statsOf(domains.transfers.last(domainOf(engine, dom), { forget }));
    },
    domainAbortJob: ({ dom }) => abort(engine, dom),
    domainAbortJobFlags: ({ dom, flags }, call) => {
      checkFlags(flags, 1, call); // VIR_DOMAIN_ABORT_JOB_POSTCOPY
      if (flags !== 0) throw notValid('current job is not outgoing migration in post-copy mode');
      return abort(engine, dom);
    },
  } satisfies RemoteHandlers;
}

function running(engine: Engine, dom: WireDomain) {
  const domain = domainOf(engine, dom);
  if (!domain.isActive) throw notValid('domain is not running');
  return domain;
}

async function current({ domains }: Engine, domain: Domain): Promise<Transfer | undefined> {
  return domains.transfers.current(domain) ?? (await domains.backups.current(domain));
}

async function abort(engine: Engine, dom: WireDomain): Promise<void> {
  const domain = running(engine, dom);
  const none = () => notValid('no job is active on the domain');
  await telling('job.not-found', none, async () => engine.domains.abortJob(domain));
}

function typeOf({ outcome }: Transfer): number {
  return outcome === undefined ? jobType.unbounded : jobType[outcome];
}

function infoOf(transfer: Transfer | undefined) {
  if (transfer?.disks !== undefined) return diskInfoOf(transfer);
  const progress = transfer?.progress;
  const total = progress?.totalBytes ?? 0;
  const remaining = progress?.remainingBytes ?? 0;
  const processed = progress?.writtenBytes ?? 0;
  return {
    type: transfer === undefined ? jobType.none : typeOf(transfer),
    timeElapsed: transfer?.elapsedMs ?? 0,
    timeRemaining: 0,
    dataTotal: total,
    dataProcessed: processed,
    dataRemaining: remaining,
    memTotal: total,
    memProcessed: processed,
    memRemaining: remaining,
    fileTotal: 0,
    fileProcessed: 0,
    fileRemaining: 0,
  };
}

/** Of a pull libvirt tells nothing here. */
function diskInfoOf(transfer: Transfer) {
  const { doneBytes = 0, totalBytes = 0, isScratch = true } = transfer.disks ?? {};
  const [total, processed] = isScratch ? [0, 0] : [totalBytes, doneBytes];
  return {
    type: typeOf(transfer),
    ...{ timeElapsed: transfer.elapsedMs, timeRemaining: 0 },
    ...{ dataTotal: total, dataProcessed: processed, dataRemaining: total - processed },
    ...{ memTotal: 0, memProcessed: 0, memRemaining: 0 },
    ...{ fileTotal: total, fileProcessed: processed, fileRemaining: total - processed },
  };
}

/** VIR_DOMAIN_JOB_DISK_*, and how a backup ended. */
function diskMeasures({ disks, outcome, error }: Transfer): TypedParam[] {
  const { doneBytes = 0, totalBytes = 0, isScratch = false } = disks ?? {};
  const sizes = isScratch
    ? [big('disk_temp_used', doneBytes), big('disk_temp_total', totalBytes)]
    : [
        big('disk_total', totalBytes),
        big('disk_processed', doneBytes),
        big('disk_remaining', totalBytes - doneBytes),
      ];
  return [
    ...(doneBytes > 0 || totalBytes > 0 ? sizes : []),
    ...(outcome === undefined ? [] : [bool('success', outcome === 'completed')]),
    ...(error === undefined ? [] : [text('errmsg', error)]),
  ];
}

function statsOf(transfer: Transfer | undefined): { type: number; params: TypedParam[] } {
  if (transfer === undefined) return { type: jobType.none, params: [] };
  const { kind, elapsedMs, progress } = transfer;
  return {
    type: typeOf(transfer),
    params: [
      int('operation', operations[kind]),
      big('time_elapsed', elapsedMs),
      ...(progress === undefined ? [] : memoryMeasures(progress)),
      ...(transfer.disks === undefined ? [] : diskMeasures(transfer)),
    ],
  };
}
