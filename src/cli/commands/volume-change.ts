/** `volume create|create-xml|clone|delete|resize|wipe|set-format`. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { volumeFormats, wipeAlgorithms } from '../../model/storage/volume/volume.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { forEachNamed } from '../for-each.ts';

import { oneOf } from '../options/fields.ts';
import { confirm } from '../prompt.ts';
import { newVolumeNamed, VOLUME_HELP, volumeNamed } from '../volumes.ts';
import type { AddCommand } from './command.ts';
import { lenientHelp, readDocument, warnDropped } from './domain-define.ts';

const NEW_HELP = "POOL/NAME, or a name in pool 'default'.";

interface CreateOptions {
  readonly format?: string;
  readonly allocation?: string;
  readonly backing?: string;
  readonly clusterSize?: string;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  readonly preallocateMetadata?: boolean;
  readonly secret?: string;
}

export const addVolumeCreate: AddCommand = (parent, cli) => {
  parent
    .command('create')
    .summary('make a new volume')
    .description(methodSummary('volume.create'))
    .argument('<new>', NEW_HELP)
    .argument('[size]', 'Like 20GiB; that of the image below when not given.')
    .option('--format <format>', 'Format: qcow2 (default), raw, vmdk, vdi, ... as the pool can.')
    .option('--allocation <size>', paramHelp('volume.create', 'allocationBytes'))
    .option('--backing <name>', paramHelp('volume.create', 'backing'))
    .option('--cluster-size <size>', paramHelp('volume.create', 'clusterSizeBytes'))
    .option('--lazy-refcounts', paramHelp('volume.create', 'lazyRefcounts'))
    .option('--extended-l2', paramHelp('volume.create', 'extendedL2'))
    .option('--preallocate-metadata', paramHelp('volume.create', 'preallocateMetadata'))
    .option('--secret <secret>', paramHelp('volume.create', 'secret'))
    .action((name: string, size: string | undefined, options: CreateOptions) =>
      create(cli, name, size, options),
    );
};

async function create(
  cli: Cli,
  text: string,
  size: string | undefined,
  options: CreateOptions,
): Promise<void> {
  const { format, allocation, backing, clusterSize, lazyRefcounts, extendedL2, preallocateMetadata, secret } =
    options;
  const { pool, volume: name } = newVolumeNamed(text);
  const result = await cli.withClient((client) =>
    client.call('volume.create', {
      ...{ pool, name },
      ...(format !== undefined && { format: oneOf('--format', format, volumeFormats) }),
      ...(size !== undefined && { capacityBytes: parseSize(size) }),
      ...(allocation !== undefined && { allocationBytes: parseSize(allocation) }),
      ...(backing !== undefined && { backing }),
      ...(clusterSize !== undefined && { clusterSizeBytes: parseSize(clusterSize) }),
      ...(lazyRefcounts === true && { lazyRefcounts }),
      ...(extendedL2 === true && { extendedL2 }),
      ...(preallocateMetadata === true && { preallocateMetadata }),
      ...(secret !== undefined && { secret }),
    }),
  );
  reportMade(cli, result);
}

function reportMade(cli: Cli, result: Result<'volume.create'>): void {
  const { volume, warnings } = result;
  for (const warning of warnings) cli.out.warn(warning);
  const { pool, name, format, capacityBytes, path } = volume;
  cli.out.result(
    result,
    () => `Volume '${pool}/${name}' is made: ${format}, ${formatBytes(capacityBytes)}, ${path}.\n`,
  );
}

export const addVolumeCreateXml: AddCommand = (parent, cli) => {
  parent
    .command('create-xml')
    .summary('make a new volume from a file')
    .description(methodSummary('volume.create-xml'))
    .argument('<pool>', 'Name or uuid of the pool.')
    .argument('<file>', 'File with storage volume XML; - is standard input.')
    .option('--lenient', lenientHelp)
    .option('--preallocate-metadata', paramHelp('volume.create-xml', 'preallocateMetadata'))
    .action(
      async (
        pool: string,
        file: string,
        {
          lenient = false,
          preallocateMetadata = false,
        }: { lenient?: boolean; preallocateMetadata?: boolean },
      ) => {
        const xml = await readDocument(cli, file);
        const result = await cli.withClient((client) =>
          client.call('volume.create-xml', { pool, xml, strict: !lenient, preallocateMetadata }),
        );
        warnDropped(cli, result.dropped);
        reportMade(cli, result);
      },
    );
};

interface CloneOptions {
  readonly format?: string;
  readonly secret?: string;
}

export const addVolumeClone: AddCommand = (parent, cli) => {
  parent
    .command('clone')
    .summary('copy a volume')
    .description(methodSummary('volume.clone'))
    .argument('<volume>', VOLUME_HELP)
    .argument('<new>', "POOL/NAME, or a name in the volume's own pool.")
    .option('--format <format>', paramHelp('volume.clone', 'format'))
    .option('--secret <secret>', paramHelp('volume.clone', 'secret'))
    .action(async (from: string, to: string, { format, secret }: CloneOptions) => {
      const result = await cli.withClient(async (client) => {
        const source = await volumeNamed(client, from);
        const target = to.includes('/') ? newVolumeNamed(to) : { pool: source.pool, volume: to };
        return client.call('volume.clone', {
          ...source,
          name: target.volume,
          toPool: target.pool,
          ...(format !== undefined && { format: oneOf('--format', format, volumeFormats) }),
          ...(secret !== undefined && { secret }),
        });
      });
      reportMade(cli, result);
    });
};

export const addVolumeDelete: AddCommand = (parent, cli) => {
  parent
    .command('delete')
    .alias('rm')
    .summary('delete volumes')
    .description(methodSummary('volume.delete'))
    .argument('<volume...>', VOLUME_HELP)
    .option('--now', 'Delete for good, and free the space.')
    .option('-y, --yes', 'Do not ask.')
    .action(
      async (names: string[], { yes = false, now = false }: { readonly yes?: boolean; now?: boolean }) => {
        await confirm(cli, `Delete ${names.join(', ')}${now ? ' for good' : ''}?`, yes);
        await forEachNamed(cli, names, async (client, text) => {
          const found = await volumeNamed(client, text);
          const { trash } = await client.call('volume.delete', { ...found, now });
          const name = `Volume '${found.pool}/${found.volume}'`;
          const said =
            trash === null
              ? `${name} is gone.`
              : `${name} is in the trash until ${trash.until.slice(0, 10)}; 'vireo volume restore ${found.pool}/${found.volume}' brings it back.`;
          return { document: { ...found, trash }, said };
        });
      },
    );
};

interface ResizeOptions {
  readonly allocate?: boolean;
  readonly shrink?: boolean;
}

export const addVolumeResize: AddCommand = (parent, cli) => {
  parent
    .command('resize')
    .summary('change the size that a guest sees')
    .description(methodSummary('volume.resize'))
    .argument('<volume>', VOLUME_HELP)
    .argument('<size>', 'Like 20GiB; +5GiB is by so much more.')
    .option('--allocate', paramHelp('volume.resize', 'allocate'))
    .option('--shrink', paramHelp('volume.resize', 'shrink'))
    .action((name: string, size: string, options: ResizeOptions) => resize(cli, name, size, options));
};

async function resize(cli: Cli, name: string, size: string, options: ResizeOptions): Promise<void> {
  const { allocate = false, shrink = false } = options;
  const relative = size.startsWith('+') ? 'more' : 'no';
  const capacityBytes = parseSize(size.replace(/^\+/, ''));
  const volume = await cli.withClient(async (client) =>
    client.call('volume.resize', {
      ...(await volumeNamed(client, name)),
      ...{ capacityBytes, relative, allocate, shrink },
    }),
  );
  cli.out.result(
    volume,
    () => `Volume '${volume.pool}/${volume.name}' has ${formatBytes(volume.capacityBytes)} now.\n`,
  );
}

export const addVolumeWipe: AddCommand = (parent, cli) => {
  parent
    .command('wipe')
    .summary('overwrite a volume in place')
    .description(`${methodSummary('volume.wipe')} On flash and thin storage old bytes may live on elsewhere.`)
    .argument('<volume>', VOLUME_HELP)
    .addOption(
      new Option('--algorithm <name>', paramHelp('volume.wipe', 'algorithm'))
        .choices(wipeAlgorithms)
        .default('zero'),
    )
    .option('-y, --yes', 'Do not ask.')
    .action(async (name: string, { algorithm, yes = false }: { algorithm: string; yes?: boolean }) => {
      await confirm(cli, `Overwrite all that is in ${name}?`, yes);
      const found = await cli.withClient(async (client) => {
        const volume = await volumeNamed(client, name);
        await client.call('volume.wipe', {
          ...volume,
          algorithm: oneOf('--algorithm', algorithm, wipeAlgorithms),
        });
        return volume;
      });
      cli.out.result(found, () => `Volume '${found.pool}/${found.volume}' is overwritten.\n`);
    });
};

export const addVolumeSetFormat: AddCommand = (parent, cli) => {
  parent
    .command('set-format')
    .summary('say of which format a file is')
    .description(methodSummary('volume.set-format'))
    .argument('<volume>', VOLUME_HELP)
    .argument('<format>', 'qcow2, raw, ...')
    .action(async (name: string, format: string) => {
      const volume = await cli.withClient(async (client) =>
        client.call('volume.set-format', {
          ...(await volumeNamed(client, name)),
          format: oneOf('the format', format, volumeFormats),
        }),
      );
      cli.out.result(volume, () => `Volume '${volume.pool}/${volume.name}' is ${volume.format}.\n`);
    });
};
