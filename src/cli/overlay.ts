/** A temporary image on top of another: reads come from the image below, writes go to a file that is thrown away. */
import { access, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError, VirtError } from '../base/errors.ts';
import { findProgram, run } from '../base/exec.ts';
import { type DiskSpec, diskFormats } from './options/disk.ts';

type Format = NonNullable<DiskSpec['format']>;

/** qemu-img takes milliseconds here; a network file system may take its time. */
const TIMEOUT_MS = 30_000;

export interface Overlay {
  readonly path: string;
  /** Removes the file; idempotent. A running guest keeps what it has open. */
  remove(): Promise<void>;
}

/**
 * The format an image's name tells, else raw. It is never guessed from the content: a guest can write any header into
 * a raw disk, and with it name a file of the host as its backing file.
 */
export function formatByName(path: string): Format {
  const suffix = path.slice(path.lastIndexOf('.') + 1).toLowerCase();
  return diskFormats.find((format) => format === suffix) ?? 'raw';
}

/**
 * Makes an overlay in a private directory below TMPDIR or /var/tmp (it may grow as large as the image).
 * @throws VirtError file.*, program.missing, program.failed
 */
export async function createOverlay(
  image: { readonly path: string; readonly format: Format },
  env: Readonly<Record<string, string | undefined>>,
): Promise<Overlay> {
  await access(image.path).catch((error: unknown) => {
    throw fileError(error, 'use the image', image.path);
  });
  const program = await qemuImg(image.path);
  const parent = env['TMPDIR']?.startsWith('/') ? env['TMPDIR'] : '/var/tmp';
  const directory = await mkdtemp(join(parent, 'vireo-run-'));
  const remove = () => rm(directory, { recursive: true, force: true });
  const path = join(directory, 'overlay.qcow2');
  try {
    // An absolute path is never read as protocol:name, whatever colons it has (QEMU: path_has_protocol).
    const backing = ['-F', image.format, '-b', image.path];
    await run(program, ['create', '-q', '-f', 'qcow2', ...backing, '--', path], { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    await remove();
    throw error;
  }
  return { path, remove };
}

async function qemuImg(image: string): Promise<string> {
  const program = await findProgram('qemu-img');
  if (program !== undefined) return program;
  throw new VirtError('program.missing', {
    wanted: `use the image ${image} without changing it`,
    reason: 'qemu-img is not installed',
    hint: 'install it (Debian: qemu-utils), or use --keep-changes to write to the image itself',
  });
}
