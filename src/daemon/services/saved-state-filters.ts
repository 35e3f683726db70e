/** Programs between a pipe and a file with a saved state: those that pack, and the one that goes past the page cache. */
import { type DescriptorFilter, startFilter } from '../../base/exec.ts';
import { close, pipe } from '../../base/ffi.ts';
import type { SaveFormat } from '../../model/saved-state/image.ts';

/** A program that packs, and how it unpacks; each reads its input and writes its output. */
export type Packer = Readonly<Record<'pack' | 'unpack', readonly string[]>> & { readonly program: string };

export const packers: Partial<Record<SaveFormat, Packer>> = {
  gzip: { program: 'gzip', pack: ['-c'], unpack: ['-dc'] },
  bzip2: { program: 'bzip2', pack: ['-c'], unpack: ['-dc'] },
  xz: { program: 'xz', pack: ['-c', '-3'], unpack: ['-dc'] },
  lzop: { program: 'lzop', pack: ['-c'], unpack: ['-dc', '--ignore-warn'] },
  zstd: { program: 'zstd', pack: ['-q', '-c'], unpack: ['-q', '-dc'] },
};

/** GNU dd moves bytes past the page cache; its last block, which is no whole one, goes the usual way by itself. */
export const pastCache = {
  program: 'dd',
  write: ['bs=1M', 'iflag=fullblock', 'oflag=direct', 'status=none'],
} as const;
/** Reads have to begin at a multiple of this to bypass the cache. */
export const DIRECT_BYTES = 4096;

/** A program with its arguments. */
export interface Through {
  readonly program: string;
  readonly args: readonly string[];
}

/** A program between a pipe of ours and a file. */
export interface RunningFilter extends DescriptorFilter {
  /** Our end of the pipe. */
  readonly fd: number;
  /** Closes our end. Idempotent. */
  close(): void;
}

/** A program that writes into a descriptor what we write into its pipe. @throws VirtError program.missing */
export async function intoFilter({ program, args }: Through, outputFd: number): Promise<RunningFilter> {
  const { readFd, writeFd } = pipe();
  return withEnd(writeFd, readFd, () => startFilter(program, args, { inputFd: readFd, outputFd }));
}

/** A program that reads a descriptor; we read its pipe. @throws VirtError program.missing */
export async function fromFilter(
  program: string,
  args: readonly string[],
  inputFd: number,
): Promise<RunningFilter> {
  const { readFd, writeFd } = pipe();
  return withEnd(readFd, writeFd, () => startFilter(program, args, { inputFd, outputFd: writeFd }));
}

/** Ours is kept, the program's is closed here once the program has its copy. */
async function withEnd(
  ours: number,
  its: number,
  start: () => Promise<DescriptorFilter>,
): Promise<RunningFilter> {
  let isOpen = true;
  const closeOurs = (): void => {
    if (!isOpen) return;
    isOpen = false;
    close(ours);
  };
  try {
    return { ...(await start()), fd: ours, close: closeOurs };
  } catch (error) {
    closeOurs();
    throw error;
  } finally {
    close(its);
  }
}
