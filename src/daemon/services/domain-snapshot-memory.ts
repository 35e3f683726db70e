/**
 * A guest's memory in a file of its own, as a part of a snapshot: in the form of a saved state, of the very moment at which
 * the disks switch to their new images. What came before that moment can be taken back, what comes after it only tells.
 */
import { lstat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, fileError, isVirtError, VirtError } from '../../base/errors.ts';
import { statIfPresent, syncDirectory } from '../../base/files.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { Undo } from '../../base/undo.ts';
import type { MemoryProgress } from '../../drivers/live-memory.ts';
import { parseDomain } from '../../model/domain/domain.ts';
import { hasMemory, type Snapshot } from '../../model/snapshot/snapshot.ts';
import type { PendingDisk } from '../state/snapshots.ts';
import type { Domain, LiveDomain } from './domain.ts';
import { saveStatus } from './domain-status.ts';
import { noteMemory } from './domain-transfers.ts';
import { savedText } from './saved-definition.ts';
import { type OpenState, openForLoading, readHead } from './saved-state-files.ts';
import { createState, temporaryName } from './saved-state-writing.ts';
import type { SnapshotWorld } from './snapshot-world.ts';

/** Where a snapshot's memory is written: `temporary` until it is whole. */
export interface MemoryFile {
  readonly path: string;
  readonly temporary: string;
}

/** How often memory is gone through while the guest runs, and how much is written, before it has to stand still. */
const LIVE_ITERATIONS = 10;
const LIVE_TIMES = 3;

/**
 * The file that a snapshot's memory goes into; undefined for one without. Nothing is made yet.
 * @throws VirtError request.invalid, file.exists
 */
export async function chooseMemoryFile(
  { memory }: Snapshot,
  { external, wanted }: { readonly external: readonly PendingDisk[]; readonly wanted: string },
): Promise<MemoryFile | undefined> {
  if (memory?.snapshot !== 'external' || memory.file === undefined) return undefined;
  const { file: path } = memory;
  if (!path.startsWith('/'))
    throw new VirtError('request.invalid', {
      wanted,
      reason: `memory snapshot file path (${path}) must be absolute`,
    });
  const taken = external.find((one) => one.file === path);
  if (taken !== undefined)
    throw new VirtError('request.invalid', {
      wanted,
      reason: `${path} would be the new image of disk ${taken.target} too`,
      hint: 'write the memory into a file of another name',
    });
  if ((await statIfPresent(path)) !== undefined)
    throw new VirtError('file.exists', {
      wanted,
      reason: `${path} is there already`,
      hint: 'it may be what another snapshot needs: choose another name, or remove it first',
    });
  return { path, temporary: temporaryName(path) };
}

export interface MemoryMoment {
  readonly file: MemoryFile;
  /** The guest runs while most of its memory is written. */
  readonly isLive: boolean;
  readonly job: RunningJob;
  readonly undo: Undo;
  /** Has the guest write to new images from then on; it stands still, and its memory is on the disk. */
  readonly switchOver: () => Promise<void>;
}

/**
 * Writes the memory, switches the disks, and has the guest go on as it was. What it returns is what went wrong after the
 * switch, when the snapshot was whole already.
 * @throws VirtError before the switch: operation.aborted, file.*, domain.state, qmp.*; the guest then is as it was
 */
export async function keepMemory(
  snapshots: SnapshotWorld,
  domain: Domain,
  moment: MemoryMoment,
): Promise<unknown> {
  const live = domain.requireLive('snapshot');
  const wasRunning = domain.state.state === 'running';
  return thenGoOn(snapshots, domain, live, async () => {
    await writeMemory(snapshots, domain, live, { ...moment, wasRunning });
    await moment.switchOver();
  });
}

/**
 * Has the guest go on as it did before, whether the work came to its end or not. Returned is why it did not go on after work
 * that came to its end; what the work throws is thrown.
 */
export async function thenGoOn(
  snapshots: SnapshotWorld,
  domain: Domain,
  live: LiveDomain,
  work: () => Promise<void>,
): Promise<unknown> {
  const wasRunning = domain.state.state === 'running';
  try {
    await work();
  } catch (error) {
    await goOn(snapshots, domain, live, wasRunning).catch((failure: unknown) =>
      snapshots.world.log.error(
        { err: failure, domain: domain.name },
        'a guest could not go on after a failed snapshot',
      ),
    );
    throw error;
  }
  return goOn(snapshots, domain, live, wasRunning).then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function writeMemory(
  snapshots: SnapshotWorld,
  domain: Domain,
  { guest }: LiveDomain,
  { file, isLive, wasRunning, job, undo }: MemoryMoment & { readonly wasRunning: boolean },
): Promise<void> {
  const head = { xml: savedText(guest), wasRunning, format: 'raw' as const };
  const { path, temporary } = file;
  const writer = await createState(path, head, { bypassCache: false, temporary });
  try {
    guest.setSaving({ temporary, path, wasRunning, goesOn: true });
    await saveStatus(snapshots.world, domain);
    if (isLive) guest.expectStop('creating snapshot');
    else if (wasRunning) await guest.suspend('creating snapshot');
    await snapshots.notes.run(domain, 'snapshot', async (note) => {
      const tell = noteMemory(note, job);
      const onProgress = isLive && wasRunning ? stoppingInTime(guest, tell) : tell;
      await guest.memory.save(writer.fd, { signal: job.signal, onProgress }).then(note);
      job.progress({ step: 'writing to the disk' });
      undo.add(`remove ${path}`, () => removeFile(path));
      await writer.finish();
    });
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

/** A guest that changes its memory faster than the disk takes it would never come to an end: then it stands still. */
function stoppingInTime(
  guest: LiveDomain['guest'],
  tell: (progress: MemoryProgress) => void,
): (progress: MemoryProgress) => void {
  let isStopped = false;
  return (progress) => {
    tell(progress);
    const { iterations, writtenBytes, totalBytes } = progress;
    if (isStopped || (iterations < LIVE_ITERATIONS && writtenBytes < LIVE_TIMES * totalBytes)) return;
    isStopped = true;
    // Whatever becomes of it: the migration itself tells its end.
    guest.suspend('creating snapshot').catch(() => undefined);
  };
}

/** As it was before: running, or paused with its disks in its own hands. */
async function goOn(
  snapshots: SnapshotWorld,
  domain: Domain,
  live: LiveDomain,
  wasRunning: boolean,
): Promise<void> {
  if (domain.live !== live) return;
  live.guest.setSaving(undefined);
  if (wasRunning) return snapshots.lifecycle.goOn(domain, live, 'unpaused');
  await live.guest.takeDisksBack();
  await saveStatus(snapshots.world, domain);
}

/** Opens the memory of a snapshot for loading; undefined where it is none in a file. @throws VirtError file.*, saved-state.* */
export async function openMemory(domain: Domain, snapshot: Snapshot): Promise<OpenState | undefined> {
  const { memory, name } = snapshot;
  if (!hasMemory(snapshot) || memory?.snapshot !== 'external' || memory.file === undefined) return undefined;
  const state = await openForLoading(memory.file, { bypassCache: false });
  if (uuidIn(state.head.xml) === domain.uuid) return state;
  await state.close();
  throw new VirtError('saved-state.invalid', {
    wanted: `return domain '${domain.name}' to snapshot '${name}'`,
    reason: `${memory.file} is of another domain`,
  });
}

function uuidIn(xml: string): string | undefined {
  return parseDomain(xml, { mode: 'lenient' }).definition.uuid;
}

/**
 * Removes the file with a snapshot's memory. Only a saved state of this very domain goes; whatever else has that name stays.
 * @throws VirtError file.*
 */
export async function removeMemory(domain: Domain, { memory }: Snapshot): Promise<void> {
  if (memory?.snapshot !== 'external' || memory.file === undefined) return;
  if (await isStateOf(domain, memory.file)) await removeFile(memory.file);
}

/** True for a saved state of that domain. @throws VirtError file.* */
export async function isStateOf({ uuid }: Pick<Domain, 'uuid'>, path: string): Promise<boolean> {
  try {
    const stat = await lstat(path);
    return stat.isFile() && uuidIn((await readHead(path)).xml) === uuid;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || isVirtError(error, 'file.not-found')) return false;
    if (isVirtError(error) && /^(saved-state|xml)\./.test(error.code)) return false;
    throw fileError(error, 'look at the memory of a snapshot', path);
  }
}

/** What a create that came to nothing has left of a file. @throws VirtError file.* */
export async function removeMemoryFiles(paths: readonly (string | undefined)[]): Promise<void> {
  for (const path of paths) if (path !== undefined) await removeFile(path);
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
    await syncDirectory(dirname(path));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove the memory of a snapshot', path);
  }
}
