/** Reads a directory of volumes: never waits for a FIFO or a device, and lets others in between. */
import { opendir, readdir, statfs } from 'node:fs/promises';
import { fileError, VirtError } from '../../base/errors.ts';
import { Turns } from '../../base/turns.ts';
import type { PoolSpace } from '../../model/storage/pool/pool.ts';
import type { ScanContext, ScanResult, VolumeFacts } from '../backend.ts';
import { PinnedDirectory } from '../directory-pin.ts';
import { type Look, type LookOptions, lookAt } from './look.ts';

/** File systems whose server may not answer (linux/magic.h, and cifs, fuse, 9p, ceph in their own headers). */
const remoteTypes: ReadonlySet<number> = new Set([
  0x6969, 0xff534d42, 0xfe534d42, 0x517b, 0x65735546, 0x01021997, 0x00c36400, 0x0bd00bd0, 0x47504653,
]);

/** Looks that are on their way at the same time. More would take all of Node's threads from others. */
const IN_PARALLEL = { local: 3, remote: 1 } as const;

/** How long a file system may take for its first answer. */
const ANSWER_MS = 10_000;

/** Opens a pool's directory and learns how it may be read. @throws VirtError file.*, pool.unresponsive */
export async function openDirectory(
  path: string,
  context: ScanContext,
): Promise<LookOptions & AsyncDisposable> {
  const opening = PinnedDirectory.open(path, `read the directory ${path}`);
  const directory = await answered(opening, path).catch((error: unknown) => {
    // One that opens too late belongs to nobody.
    void opening.then((late) => late.close()).catch(() => undefined);
    throw error;
  });
  try {
    const { type } = await answered(statfs(directory.self), path);
    const isLocal = !remoteTypes.has(type);
    const stats = await directory.stat();
    // A link is as trustworthy as those who can put one there (docs/security.md, class I): root, and we ourselves.
    const isOurs = stats.uid === 0n || Number(stats.uid) === process.getuid?.();
    const followsLinks = isOurs && (Number(stats.mode) & 0o022) === 0;
    const real = await directory.realPath();
    return {
      directory,
      real,
      context,
      isLocal,
      followsLinks,
      [Symbol.asyncDispose]: () => directory.close(),
    };
  } catch (error) {
    await directory.close();
    throw fileError(error, 'read a directory', path);
  }
}

/** Gives up waiting; the call itself cannot be taken back, and ends when the server answers or is given up. */
async function answered<T>(work: Promise<T>, path: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new VirtError('pool.unresponsive', {
            wanted: `read the directory ${path}`,
            reason: `its file system did not answer within ${ANSWER_MS / 1000} s`,
            hint: 'is the server of this mount reachable?',
          }),
        ),
      ANSWER_MS,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** All volumes of a directory, by name. @throws VirtError file.*, pool.unresponsive, operation.aborted */
export async function scanDirectory(path: string, context: ScanContext): Promise<ScanResult> {
  await using options = await openDirectory(path, context);
  const names = await entriesOf(options);
  const found = await lookAtAll(names, options);
  const volumes = found.map(({ volume }) => volume).sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    volumes,
    realDirectory: options.real,
    space: spaceOf(await statfs(options.directory.self)),
    ignored: names.length - volumes.length,
    unsettled: found.filter(({ isUnsettled }) => isUnsettled).map(({ volume }) => volume.name),
  };
}

/** Names of the entries; hidden ones are nobody's business. */
async function entriesOf({ directory, context }: LookOptions): Promise<string[]> {
  const turns = new Turns();
  const names: string[] = [];
  for await (const entry of await opendir(directory.self, { bufferSize: 512 })) {
    throwIfAborted(context.signal);
    if (!entry.name.startsWith('.')) names.push(entry.name);
    await turns.share();
  }
  return names;
}

async function lookAtAll(names: readonly string[], options: LookOptions): Promise<Look[]> {
  const found: Look[] = [];
  const turns = new Turns();
  let next = 0;
  const worker = async () => {
    while (next < names.length) {
      throwIfAborted(options.context.signal);
      const name = names[next++];
      const look = name === undefined ? undefined : await lookAt(name, options);
      if (look !== undefined) found.push(look);
      await turns.share();
    }
  };
  const count = options.isLocal ? IN_PARALLEL.local : IN_PARALLEL.remote;
  await Promise.all(Array.from({ length: count }, worker));
  return found;
}

/** One entry, looked at by itself. */
export async function lookAtOne(
  path: string,
  name: string,
  context: ScanContext,
): Promise<VolumeFacts | undefined> {
  await using options = await openDirectory(path, context);
  return (await lookAt(name, options))?.volume;
}

export async function directorySpace(path: string): Promise<PoolSpace> {
  try {
    return spaceOf(await answered(statfs(path), path));
  } catch (error) {
    throw fileError(error, 'ask a file system for its space', path);
  }
}

/** What is left to root alone counts as taken, as libvirt counts (statvfs(3): f_bavail). */
function spaceOf(stats: { bsize: number; blocks: number; bavail: number }): PoolSpace {
  const capacityBytes = stats.bsize * stats.blocks;
  const availableBytes = stats.bsize * stats.bavail;
  return { capacityBytes, availableBytes, allocationBytes: capacityBytes - availableBytes };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new VirtError('operation.aborted', { wanted: 'refresh a pool', reason: 'cancelled' });
}

/** Names in a directory that a test accepts; none when it is not there. */
export async function namesIn(path: string, accepts: (name: string) => boolean): Promise<string[]> {
  try {
    return (await readdir(path)).filter(accepts);
  } catch (error) {
    throw fileError(error, 'read a directory', path);
  }
}
