/** One sample of what QEMU tells of a guest: questions sent together, answers read one by one. */
import * as z from 'zod';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type {
  AcceleratorCounter,
  DirtyRate,
  IothreadFacts,
  MonitorGroup,
  MonitorSample,
} from '../../live-tuning.ts';
import type { QmpClient } from '../qmp/client.ts';
import { guestCpus } from './cpus.ts';
import { readDiskCounters } from './disks.ts';
import { readImageCounters } from './images.ts';
import { readBalloonStatistics } from './memory.ts';

/** What one group adds to a sample. */
type Ask = (qmp: QmpClient, definition: DomainDef) => Promise<MonitorSample>;

const asks: Readonly<Record<MonitorGroup, Ask>> = {
  async balloon(qmp, { devices }) {
    const { memballoon } = devices;
    if (memballoon === undefined || memballoon.model === 'none') return {};
    const path = `/machine/peripheral/${memballoon.alias ?? 'balloon0'}`;
    const [told, stats] = await Promise.all([
      qmp.execute('query-balloon'),
      qmp.execute('qom-get', { path, property: 'guest-stats' }),
    ]);
    const balloon = readBalloonStatistics(stats);
    return { balloonBytes: told.actual, ...(balloon && { balloon }) };
  },
  cpus: async (qmp) => ({ cpus: await guestCpus(qmp) }),
  async disks(qmp) {
    const [stats, drives] = await Promise.all([
      qmp.executeRaw('query-blockstats'),
      qmp.executeRaw('query-block'),
    ]);
    return { disks: readDiskCounters(stats, drives) };
  },
  async images(qmp) {
    const [nodes, stats] = await Promise.all([
      qmp.executeRaw('query-named-block-nodes', { flat: true }),
      qmp.executeRaw('query-blockstats', { 'query-nodes': true }),
    ]);
    return { images: readImageCounters(nodes, stats) };
  },
  async iothreads(qmp, { iothreads = 0, iothreadids }) {
    // Those that came while it runs are in the definition too.
    if (iothreads === 0 && iothreadids.length === 0) return { iothreads: [] };
    return { iothreads: await iothreadFacts(qmp) };
  },
  async dirtyRate(qmp) {
    const dirtyRate = readDirtyRate(await qmp.executeRaw('query-dirty-rate'));
    return dirtyRate === undefined ? {} : { dirtyRate };
  },
  async accelerator(qmp, { type }) {
    if (type !== 'kvm') return { accelerator: [] };
    const [schemas, stats] = await Promise.all([
      qmp.executeRaw('query-stats-schemas'),
      qmp.executeRaw('query-stats', { target: 'vm' }),
    ]);
    return { accelerator: readAccelerator(schemas, stats) };
  },
};

/** A group that QEMU refuses (an older one has no such command) is left out; one that it does not answer is an error. */
export async function takeSample(
  qmp: QmpClient,
  definition: DomainDef,
  groups: readonly MonitorGroup[],
): Promise<MonitorSample> {
  const answers = qmp.together(() =>
    groups.map((group) =>
      asks[group](qmp, definition).catch((error: unknown): MonitorSample => {
        if (isVirtError(error, 'qmp.failed')) return {};
        throw error;
      }),
    ),
  );
  const parts = await Promise.all(answers);
  return Object.assign({}, ...parts) as MonitorSample;
}

/** Waits so long for an answer that others may go on waiting for; `toldMs` is the limit that the error names. */
export function within<T>(limitMs: number, answer: Promise<T>, toldMs: number = limitMs): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new VirtError('qmp.timeout', { wanted: 'measure a guest', reason: `no answer within ${toldMs} ms` }),
      );
    }, limitMs);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

const iothread = z.looseObject({
  id: z.string(),
  'thread-id': z.number(),
  'poll-max-ns': z.number().optional(),
  'poll-grow': z.number().optional(),
  'poll-shrink': z.number().optional(),
});

async function iothreadFacts(qmp: QmpClient): Promise<IothreadFacts[]> {
  const found = z.array(iothread).parse(await qmp.executeRaw('query-iothreads'));
  return found
    .flatMap((one) => {
      const number = /^iothread(\d+)$/.exec(one.id)?.[1];
      if (number === undefined) return [];
      return [
        {
          id: Number(number),
          threadId: one['thread-id'],
          ...(one['poll-max-ns'] !== undefined && { pollMaxNs: one['poll-max-ns'] }),
          ...(one['poll-grow'] !== undefined && { pollGrow: one['poll-grow'] }),
          ...(one['poll-shrink'] !== undefined && { pollShrink: one['poll-shrink'] }),
        },
      ];
    })
    .sort((a, b) => a.id - b.id);
}

const dirtyRate = z.looseObject({
  status: z.enum(['unstarted', 'measuring', 'measured']),
  'start-time': z.number(),
  'calc-time': z.number(),
  'dirty-rate': z.number().optional(),
  mode: z.string().default('page-sampling'),
  'vcpu-dirty-rate': z.array(z.looseObject({ id: z.number(), 'dirty-rate': z.number() })).default([]),
});

function readDirtyRate(value: unknown): DirtyRate | undefined {
  const { success, data } = dirtyRate.safeParse(value);
  if (!success) return undefined;
  const rate = data['dirty-rate'];
  return {
    status: data.status,
    startSeconds: data['start-time'],
    periodSeconds: data['calc-time'],
    mode: data.mode,
    ...(rate !== undefined && { mibPerSecond: rate }),
    vcpus: data['vcpu-dirty-rate'].map((one) => ({ index: one.id, mibPerSecond: one['dirty-rate'] })),
  };
}

const schemaList = z.array(
  z.looseObject({
    provider: z.string(),
    target: z.string(),
    stats: z.array(z.looseObject({ name: z.string(), type: z.string() })),
  }),
);
const statsList = z.array(
  z.looseObject({
    provider: z.string(),
    stats: z.array(z.looseObject({ name: z.string(), value: z.unknown() })),
  }),
);

/** QEMU's types of counters (qapi/stats.json, StatsType); histograms have no single value and are left out. */
const kinds: Readonly<Record<string, AcceleratorCounter['kind']>> = {
  cumulative: 'sum',
  instant: 'cur',
  peak: 'max',
};

/** Counters of the whole machine, with the kind that their schema has. */
export function readAccelerator(schemas: unknown, stats: unknown): AcceleratorCounter[] {
  const types = new Map(
    (schemaList.safeParse(schemas).data ?? [])
      .filter(({ target }) => target === 'vm')
      .flatMap((one) => one.stats.map(({ name, type }) => [name, type] as const)),
  );
  return (statsList.safeParse(stats).data ?? []).flatMap((one) =>
    one.stats.flatMap(({ name, value }) => {
      const kind = kinds[types.get(name) ?? ''];
      if (kind === undefined || (typeof value !== 'number' && typeof value !== 'boolean')) return [];
      return [{ name, kind, value }];
    }),
  );
}
