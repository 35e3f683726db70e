/** `volume upload|download`: local files, with their holes, to and from volumes. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { downloadVolume, type UploadSource, uploadVolume } from '../../api/volume-streams.ts';
import type { UploadEnd } from '../../api/volume-transfer.ts';
import { errnoOf, fileError, isVirtError, VirtError } from '../../base/errors.ts';
import { blockDeviceBytes } from '../../base/ffi/ranges.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { volumeFormats } from '../../model/storage/volume/volume.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { ProgressLine } from '../format/progress.ts';
import { withInterrupt } from '../interrupt.ts';
import { oneOf } from '../options/fields.ts';
import { newVolumeNamed, VOLUME_HELP, volumeNamed } from '../volumes.ts';
import type { AddCommand } from './command.ts';

interface UploadOptions {
  readonly format?: string;
  readonly overwrite?: boolean;
  readonly offset?: string;
  readonly length?: string;
  readonly sparse?: boolean;
  readonly resume?: string;
  readonly checksum?: boolean;
  readonly sha256?: string;
}

export const addVolumeUpload: AddCommand = (parent, cli) => {
  parent
    .command('upload')
    .summary('make a volume of a local file')
    .description(
      `${methodSummary('volume.upload')} The volume is made, or replaced, when all has come. Holes of the file are not sent.`,
    )
    .argument('<volume>', "POOL/NAME, or a name in pool 'default'.")
    .argument('<file>', 'The file or device; - is standard input.')
    .option('--format <format>', paramHelp('volume.upload', 'format'))
    .option('--overwrite', paramHelp('volume.upload', 'overwrite'))
    .option('--offset <bytes>', paramHelp('volume.upload', 'offset'))
    .option('--length <size>', 'Only so much of the file.')
    .option('--no-sparse', 'Send holes as zeros.')
    .option('--resume <id>', paramHelp('volume.upload', 'resume'))
    .option('--no-checksum', 'Do not compute the SHA-256, which takes time for large holes.')
    .option('--sha256 <digits>', paramHelp('volume.upload', 'sha256'))
    .action((name: string, file: string, options: UploadOptions) => upload(cli, name, file, options));
};

async function upload(cli: Cli, name: string, file: string, options: UploadOptions): Promise<void> {
  const handle = file === '-' ? undefined : await openLocal(file);
  const progress = new ProgressLine(cli.world.stderr, cli.out.isJson);
  let resume: string | null = null;
  try {
    const from = handle === undefined ? standardInput(cli) : await partOf(handle, file, options);
    const end = await withInterrupt((signal) =>
      cli.withClient((client) =>
        uploadVolume(
          client,
          {
            from,
            params: uploadParams(name, file, options),
            onBegin: (begun) => {
              resume = begun.resume;
            },
          },
          { signal, onProgress: progress.tell },
        ),
      ),
    );
    progress.end();
    reportUpload(cli, end);
  } catch (error) {
    progress.end();
    throw withResume(error, resume, name, file);
  } finally {
    await handle?.close();
  }
}

function uploadParams(name: string, file: string, options: UploadOptions): UploadSource['params'] {
  const { format, overwrite, offset, sparse = true, resume, checksum = true, sha256 } = options;
  return {
    ...newVolumeNamed(name),
    ...{ sparse, checksum },
    ...(format !== undefined && { format: oneOf('--format', format, volumeFormats) }),
    ...(overwrite === true && { overwrite }),
    ...(offset !== undefined && { offset: parseSize(offset) }),
    // What comes from a pipe cannot be sent again.
    ...(offset === undefined && file !== '-' && { resumable: true }),
    ...(resume !== undefined && { resume }),
    ...(sha256 !== undefined && { sha256: sha256.toLowerCase() }),
  };
}

function reportUpload(cli: Cli, end: UploadEnd): void {
  for (const warning of end.warnings) cli.out.warn(warning);
  const { volume, sha256 } = end;
  const sum = sha256 === null ? '' : ` SHA-256 ${sha256}.`;
  cli.out.result(
    end,
    () =>
      `Volume '${volume.pool}/${volume.name}' is there: ${volume.format}, ${formatBytes(volume.capacityBytes)}.${sum}\n`,
  );
}

/** What broke off half-way can go on: the error says how. */
function withResume(error: unknown, resume: string | null, name: string, file: string): unknown {
  const brokeOff =
    (error instanceof Error && error.name === 'AbortError') ||
    isVirtError(error, 'stream.failed') ||
    isVirtError(error, 'operation.aborted') ||
    isVirtError(error, 'file.no-space');
  if (resume === null || !brokeOff) return error;
  const reason = error instanceof VirtError ? error.reason : 'interrupted';
  return new VirtError(error instanceof VirtError ? error.code : 'operation.aborted', {
    wanted: `upload volume '${name}'`,
    reason,
    hint: `what has come is kept for a day: 'vireo volume upload ${name} ${file} --resume ${resume}' goes on`,
    details: { resume },
    cause: error,
  });
}

function standardInput(cli: Cli): Readable {
  return cli.world.stdin as unknown as Readable;
}

async function openLocal(file: string): Promise<FileHandle> {
  try {
    return await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw fileError(error, 'read a file', file);
  }
}

async function partOf(handle: FileHandle, file: string, options: UploadOptions) {
  const stats = await handle.stat();
  if (!stats.isFile() && !stats.isBlockDevice())
    throw new VirtError('request.invalid', {
      wanted: `read ${file}`,
      reason: 'it is neither a file nor a block device',
      hint: 'give - as the file to read from a pipe',
    });
  const size = stats.isFile() ? stats.size : blockDeviceBytes(handle.fd);
  const length = options.length === undefined ? size : parseSize(options.length);
  if (length > size)
    throw new VirtError('request.invalid', { wanted: `read ${file}`, reason: `it has ${size} bytes only` });
  return { handle, start: 0, length };
}

interface DownloadOptions {
  readonly offset?: string;
  readonly length?: string;
  readonly checksum?: boolean;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
}

export const addVolumeDownload: AddCommand = (parent, cli) => {
  parent
    .command('download')
    .summary('copy a volume into a local file')
    .description(
      `${methodSummary('volume.download')} Holes stay holes. The file has its name when it is whole.`,
    )
    .argument('<volume>', VOLUME_HELP)
    .argument('<file>', 'The file to make; - is standard output.')
    .option('--offset <bytes>', paramHelp('volume.download', 'offset'))
    .option('--length <size>', paramHelp('volume.download', 'length'))
    .option('--no-checksum', 'Do not compute the SHA-256, which takes time for large holes.')
    .option('--resume', 'Go on with a download that broke off: FILE.part.')
    .option('--overwrite', 'Replace a file of that name.')
    .action((name: string, file: string, options: DownloadOptions) => download(cli, name, file, options));
};

async function download(cli: Cli, name: string, file: string, options: DownloadOptions): Promise<void> {
  if (file === '-') return downloadToPipe(cli, name, options);
  const part = join(dirname(file), `${basename(file)}.part`);
  if (options.overwrite !== true) await refuseTaken(file);
  const handle = await openPart(part, options.resume === true);
  const progress = new ProgressLine(cli.world.stderr, cli.out.isJson);
  try {
    const start = (await handle.stat()).size;
    const result = await withInterrupt((signal) =>
      cli.withClient(async (client) => {
        const volume = await volumeNamed(client, name);
        const params = { ...volume, ...downloadParams(options, start) };
        const { bytes, sha256 } = await downloadVolume(
          client,
          {
            to: { handle, start },
            params,
            onBegin: (begun) => begun.warnings.forEach((text) => cli.out.warn(text)),
          },
          { signal, onProgress: progress.tell },
        );
        return {
          ...volume,
          file,
          bytes: start + bytes,
          sha256: start === 0 && sha256 !== '' ? sha256 : null,
        };
      }),
    );
    await handle.datasync();
    await rename(part, file);
    progress.end();
    const sum = result.sha256 === null ? '' : ` SHA-256 ${result.sha256}.`;
    cli.out.result(
      result,
      () => `${file}: ${formatBytes(result.bytes)} of '${result.pool}/${result.volume}'.${sum}\n`,
    );
  } catch (error) {
    progress.end();
    throw await leftOver(error, { part, handle, name, file });
  } finally {
    await handle.close();
  }
}

function downloadParams({ offset, length, checksum = true }: DownloadOptions, done: number) {
  const first = offset === undefined ? 0 : parseSize(offset);
  return {
    offset: first + done,
    checksum,
    ...(length !== undefined && { length: Math.max(0, parseSize(length) - done) }),
  };
}

async function downloadToPipe(cli: Cli, name: string, options: DownloadOptions): Promise<void> {
  await withInterrupt((signal) =>
    cli.withClient(async (client) =>
      downloadVolume(
        client,
        {
          to: cli.world.stdout,
          params: { ...(await volumeNamed(client, name)), ...downloadParams(options, 0) },
        },
        { signal },
      ),
    ),
  );
}

async function refuseTaken(file: string): Promise<void> {
  try {
    await (await open(file, constants.O_RDONLY | constants.O_NONBLOCK)).close();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, 'make a file', file);
  }
  throw new VirtError('file.exists', {
    wanted: `make ${file}`,
    reason: 'the file exists already',
    hint: 'use another name, or --overwrite',
  });
}

async function openPart(part: string, isResumed: boolean): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  try {
    return await open(part, isResumed ? O_RDWR | O_NOFOLLOW : O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw fileError(error, 'make a file', part);
  }
}

/** What has come stays, to be gone on with; an empty file does not. */
async function leftOver(
  error: unknown,
  { part, handle, name, file }: { part: string; handle: FileHandle; name: string; file: string },
): Promise<unknown> {
  if ((await handle.stat()).size === 0) {
    await rm(part, { force: true });
    return error;
  }
  const reason = error instanceof VirtError ? error.reason : 'interrupted';
  return new VirtError(error instanceof VirtError ? error.code : 'operation.aborted', {
    wanted: `download volume '${name}'`,
    reason,
    hint: `what has come is in ${part}: 'vireo volume download ${name} ${file} --resume' goes on`,
    cause: error,
  });
}
