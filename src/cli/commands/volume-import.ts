/** `volume import`: a volume of an image that a server or this user has. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import type { VireoClient } from '../../api/client.ts';
import type { ImportEnd } from '../../api/image.ts';
import { importVolume } from '../../api/import-stream.ts';
import type { ParamsInput } from '../../api/index.ts';
import { fileError, VirtError } from '../../base/errors.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { volumeFormats } from '../../model/storage/volume/volume.ts';
import { paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { ProgressLine } from '../format/progress.ts';
import { withInterrupt } from '../interrupt.ts';
import { oneOf } from '../options/fields.ts';
import { watchingImport } from '../watch-import.ts';
import type { AddCommand } from './command.ts';

interface ImportOptions {
  readonly pool: string;
  readonly name?: string;
  readonly format?: string;
  readonly sourceFormat?: string;
  readonly checksum?: string;
  readonly size?: string;
}

type Wish = ParamsInput<'volume.import-file'>;

export const addVolumeImport: AddCommand = (parent, cli) => {
  parent
    .command('import')
    .summary('make a volume of an image: a URL or a file')
    .description(
      'Makes a volume of an image that a server has, or of a file of yours. What is compressed (gzip, zstd, xz, bzip2) is unpacked; an image that names other files is refused.',
    )
    .argument(
      '<url|file>',
      'An http or https URL, which the daemon fetches; else a file; - is standard input.',
    )
    .option('--pool <pool>', 'Name or uuid of the pool.', 'default')
    .option('--name <name>', 'Name of the volume (default: that of the file, without .gz and the like).')
    .option('--format <format>', paramHelp('volume.import', 'format'))
    .option('--source-format <format>', paramHelp('volume.import', 'sourceFormat'))
    .option('--checksum <checksum>', paramHelp('volume.import', 'checksum'))
    .option('--size <size>', paramHelp('volume.import', 'capacityBytes'))
    .action((source: string, options: ImportOptions) => importFrom(cli, source, options));
};

async function importFrom(cli: Cli, source: string, options: ImportOptions): Promise<void> {
  const isUrl = /^[a-z][a-z0-9+.-]*:\/\//i.test(source);
  const wish = wishOf(source, isUrl, options);
  const end = await withInterrupt((signal) =>
    cli.withClient((client) =>
      isUrl
        ? fromUrl(cli, client, source, { wish, signal })
        : fromFile(cli, client, source, { wish, signal }),
    ),
  );
  const { volume, sourceFormat } = end;
  const from = sourceFormat === volume.format ? '' : ` made of ${sourceFormat}`;
  const sum = end.sha256 === null ? '' : `SHA-256 of what came: ${end.sha256}\n`;
  cli.out.result(
    end,
    () =>
      `Volume '${volume.pool}/${volume.name}' is there: ${volume.format}${from}, ${formatBytes(volume.capacityBytes)}, ${volume.path}.\n${sum}`,
  );
}

interface Importing {
  readonly wish: Wish;
  readonly signal: AbortSignal;
}

function fromUrl(
  cli: Cli,
  client: VireoClient,
  url: string,
  { wish, signal }: Importing,
): Promise<ImportEnd> {
  return watchingImport(cli, client, wish.pool, () =>
    client.call('volume.import', { ...wish, url }, { signal }),
  );
}

async function fromFile(
  cli: Cli,
  client: VireoClient,
  file: string,
  { wish, signal }: Importing,
): Promise<ImportEnd> {
  const handle = file === '-' ? undefined : await openLocal(cli.absolute(file));
  const progress = new ProgressLine(cli.world.stderr, cli.out.isJson);
  try {
    const from =
      handle === undefined
        ? (cli.world.stdin as unknown as Readable)
        : { handle, start: 0, length: (await handle.stat()).size };
    const send = () =>
      importVolume(
        client,
        { from, params: wish, onSent: () => progress.end() },
        { signal, onProgress: progress.tell },
      );
    return await watchingImport(cli, client, wish.pool, send);
  } finally {
    progress.end();
    await handle?.close();
  }
}

function wishOf(source: string, isUrl: boolean, options: ImportOptions): Wish {
  const { pool, format, sourceFormat, checksum, size } = options;
  const wanted = format === undefined ? undefined : oneOf('--format', format, volumeFormats);
  return {
    pool,
    name: options.name ?? nameOf(source, isUrl),
    ...(wanted !== undefined && { format: wanted }),
    ...(sourceFormat !== undefined && {
      sourceFormat: oneOf('--source-format', sourceFormat, volumeFormats),
    }),
    ...(checksum !== undefined && { checksum }),
    ...(size !== undefined && { capacityBytes: parseSize(size) }),
  };
}

/** The last step of the path, without the suffix of a compression. */
function nameOf(source: string, isUrl: boolean): string {
  const path = isUrl && URL.canParse(source) ? decodeURIComponent(new URL(source).pathname) : source;
  const name = basename(path).replace(/\.(gz|xz|zst|bz2)$/, '');
  if (name !== '' && name !== '-' && name !== '.') return name;
  throw new VirtError('request.invalid', {
    wanted: `import ${source}`,
    reason: 'it has no name that the volume could take',
    hint: 'give one with --name',
  });
}

async function openLocal(path: string): Promise<FileHandle> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw fileError(error, 'read a file', path);
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new VirtError('request.invalid', { wanted: `read ${path}`, reason: 'it is no regular file' });
}
