/** The balloon of a running guest, and reading the guest's memory. */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { fileError, VirtError } from '../../../base/errors.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { AddressKind, BalloonStatistics } from '../../live-tuning.ts';
import { ownDirectory } from '../argv/types.ts';
import type { QmpClient } from '../qmp/client.ts';

/** libvirt's limit of a peek (remote_protocol.x, REMOTE_DOMAIN_MEMORY_PEEK_BUFFER_MAX is 4 MiB; ours is smaller). */
const MAX_PEEK_BYTES = 64 * 1024;

/** The QOM path of the balloon. @throws VirtError domain.no-device */
export function balloonPath(definition: DomainDef, wanted: string): string {
  const { memballoon } = definition.devices;
  if (memballoon === undefined || memballoon.model === 'none')
    throw new VirtError('domain.no-device', {
      wanted: `${wanted} of domain '${definition.name}'`,
      reason: 'it has no memory balloon',
      hint: "give it <memballoon model='virtio'/>",
    });
  return `/machine/peripheral/${memballoon.alias ?? 'balloon0'}`;
}

const answer = z.looseObject({
  'last-update': z.number(),
  stats: z.record(z.string(), z.number()),
});

/** QEMU's names of the guest's numbers (docs/virtio-balloon-stats.txt), by ours. */
const names = {
  swapInBytes: 'stat-swap-in',
  swapOutBytes: 'stat-swap-out',
  majorFaults: 'stat-major-faults',
  minorFaults: 'stat-minor-faults',
  freeBytes: 'stat-free-memory',
  totalBytes: 'stat-total-memory',
  availableBytes: 'stat-available-memory',
  diskCacheBytes: 'stat-disk-caches',
  hugetlbAllocations: 'stat-htlb-pgalloc',
  hugetlbFailures: 'stat-htlb-pgfail',
} as const satisfies Partial<Record<keyof BalloonStatistics, string>>;

/** Reads what `guest-stats` says; a number that the guest does not tell is 2^64 - 1 there. */
export function readBalloonStatistics(value: unknown): BalloonStatistics | undefined {
  const { success, data } = answer.safeParse(value);
  if (!success) return undefined;
  const told = Object.entries(names).flatMap(([ours, theirs]) => {
    const number = data.stats[theirs];
    return number !== undefined && number >= 0 && Number.isSafeInteger(number) ? [[ours, number]] : [];
  });
  return { lastUpdateSeconds: data['last-update'], ...Object.fromEntries(told) } as BalloonStatistics;
}

/** Reads memory by way of a file in the only place that QEMU may write to, below its working directory. */
export async function peekMemory(
  qmp: QmpClient,
  directory: string,
  wish: { readonly kind: AddressKind; readonly address: number; readonly length: number },
): Promise<Buffer> {
  if (wish.length < 1 || wish.length > MAX_PEEK_BYTES)
    throw new VirtError('request.invalid', {
      wanted: "read a guest's memory",
      reason: `at most ${MAX_PEEK_BYTES} bytes can be read at once`,
    });
  const filename = `${ownDirectory}/peek-${randomUUID()}`;
  const args = { val: wish.address, size: wish.length, filename };
  const path = join(directory, filename);
  try {
    await qmp.execute(wish.kind === 'physical' ? 'pmemsave' : 'memsave', args);
    return await readWhole(path, wish.length);
  } finally {
    await rm(path, { force: true });
  }
}

/**
 * The directory is the guest's to write: a link there is not followed, a pipe not waited for, and more than was asked for
 * is not read.
 */
async function readWhole(path: string, length: number): Promise<Buffer> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      throw fileError(error, "read a guest's memory", path);
    },
  );
  try {
    if (!(await handle.stat()).isFile())
      throw new VirtError('file.failed', { wanted: "read a guest's memory", reason: `${path} is no file` });
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await handle.read(bytes, 0, length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
