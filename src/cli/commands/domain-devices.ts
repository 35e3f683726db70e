/** `domain attach|detach|update|media`: devices of domains. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { ParamsInput } from '../../api/index.ts';
import { fileError, VirtError } from '../../base/errors.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { parseDisk } from '../options/disk.ts';
import { badOption } from '../options/fields.ts';
import { parseNetwork } from '../options/network.ts';
import { VOLUME_HELP, volumeNamed } from '../volumes.ts';
import type { AddCommand } from './command.ts';

interface TargetOptions {
  readonly live?: boolean;
  readonly stored?: boolean;
}

interface AttachOptions extends TargetOptions {
  readonly disk?: string;
  readonly network?: string;
}

const DEVICE_HELP = 'Alias (net0), target (vdb), MAC address or device on the host (vnet0).';

export const addAttach: AddCommand = (parent, cli) => {
  parent
    .command('attach')
    .summary('add a device')
    .description(methodSummary('domain.attach-device'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('[file]', "File with the device's XML.")
    .option('--disk <disk>', 'A disk, like path=/srv/data.qcow2,size=10GiB.')
    .option('--network <network>', 'A network card, like network=default or user.')
    .option('--live', paramHelp('domain.attach-device', 'live'))
    .option('--stored', paramHelp('domain.attach-device', 'stored'))
    .action((name: string, file: string | undefined, options: AttachOptions) =>
      attach(cli, name, file, options),
    );
};

type Wish = Pick<ParamsInput<'domain.attach-device'>, 'xml' | 'disk' | 'network'>;

async function attach(
  cli: Cli,
  name: string,
  file: string | undefined,
  options: AttachOptions,
): Promise<void> {
  const { disk, network, ...targets } = options;
  const wish = await wishOf(cli, file, { disk, network });
  const { alias } = await withDomain(cli, name, (client, domain) =>
    client.call('domain.attach-device', { domain, ...wish, ...targets }),
  );
  cli.out.result({ domain: name, alias }, () =>
    alias === null ? 'The device was added to the definition.\n' : `The device was attached as ${alias}.\n`,
  );
}

async function wishOf(
  cli: Cli,
  file: string | undefined,
  { disk, network }: { readonly disk: string | undefined; readonly network: string | undefined },
): Promise<Wish> {
  const given = [file, disk, network].filter((one) => one !== undefined);
  if (given.length !== 1)
    throw badOption('attach', given.join(' '), 'of a file, --disk and --network exactly one has to be given');
  if (disk !== undefined) return { disk: parseDisk(disk, cli.world.cwd) };
  if (network === undefined) return { xml: await readDevice(cli, file ?? '') };
  const card = parseNetwork(network);
  if (card === undefined) throw badOption('--network', network, 'there is no card to attach');
  return { network: card };
}

async function readDevice(cli: Cli, file: string): Promise<string> {
  const path = resolve(cli.world.cwd, file);
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw fileError(error, 'read the device', path);
  }
}

export const addDetach: AddCommand = (parent, cli) => {
  parent
    .command('detach')
    .summary('take a device away')
    .description(methodSummary('domain.detach-device'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<device>', DEVICE_HELP)
    .option('--live', paramHelp('domain.detach-device', 'live'))
    .option('--stored', paramHelp('domain.detach-device', 'stored'))
    .action((name: string, device: string, options: TargetOptions) => detach(cli, name, device, options));
};

async function detach(cli: Cli, name: string, device: string, options: TargetOptions): Promise<void> {
  const { released } = await withDomain(cli, name, (client, domain) =>
    client.call('domain.detach-device', { domain, device, ...options }),
  );
  if (!released)
    throw new VirtError('operation.timeout', {
      wanted: `detach ${device} from domain '${name}'`,
      reason: 'the guest was asked, and has not let go of it yet',
      hint: "when it does, the device goes; 'vireo events' shows domain.device-removed",
    });
  cli.out.result({ domain: name, device, released }, () => `${device} was detached.\n`);
}

export const addUpdate: AddCommand = (parent, cli) => {
  parent
    .command('update-device')
    .summary('change a device')
    .description(methodSummary('domain.update-device'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<file>', "File with the device's XML as it is to be.")
    .option('--force', paramHelp('domain.update-device', 'force'))
    .option('--live', paramHelp('domain.update-device', 'live'))
    .option('--stored', paramHelp('domain.update-device', 'stored'))
    .action(async (name: string, file: string, options: TargetOptions & { readonly force?: boolean }) => {
      const xml = await readDevice(cli, file);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.update-device', { domain, xml, ...options }),
      );
      cli.out.result({ domain: name }, () => 'The device was changed.\n');
    });
};

interface MediaOptions extends TargetOptions {
  readonly eject?: boolean;
  readonly volume?: string;
  readonly force?: boolean;
  readonly format?: string;
}

export const addMedia: AddCommand = (parent, cli) => {
  parent
    .command('media')
    .summary('change or eject a CD-ROM or floppy')
    .description(methodSummary('domain.change-media'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<drive>', 'Target (sda) or alias of the drive.')
    .argument('[image]', 'Image file or block device.')
    .option('--volume <volume>', VOLUME_HELP)
    .option('--eject', 'Take the medium out.')
    .option('--format <format>', 'raw or qcow2.')
    .option('--force', paramHelp('domain.change-media', 'force'))
    .option('--live', paramHelp('domain.change-media', 'live'))
    .option('--stored', paramHelp('domain.change-media', 'stored'))
    .action((name: string, device: string, image: string | undefined, options: MediaOptions) =>
      changeMedia(cli, { name, device, image }, options),
    );
};

async function changeMedia(
  cli: Cli,
  wish: { readonly name: string; readonly device: string; readonly image: string | undefined },
  { eject = false, format, volume, ...options }: MediaOptions,
): Promise<void> {
  const { name, device, image } = wish;
  if ([image, volume, eject ? '' : undefined].filter((one) => one !== undefined).length !== 1)
    throw badOption(
      'media',
      image ?? volume ?? '',
      'give an image, --volume or --eject, and one of them only',
    );
  if (format !== undefined && format !== 'raw' && format !== 'qcow2')
    throw badOption('--format', format, 'it is raw or qcow2');
  const path = image === undefined ? null : resolve(cli.world.cwd, image);
  await withDomain(cli, name, async (client, domain) => {
    const named = volume === undefined ? undefined : await volumeNamed(client, volume);
    const medium = named === undefined ? { path } : { volume: { pool: named.pool, name: named.volume } };
    await client.call('domain.change-media', {
      ...{ domain, device, ...medium },
      ...(format && { format }),
      ...options,
    });
  });
  cli.out.result({ domain: name, device, path, volume: volume ?? null }, () =>
    eject ? `The drive ${device} is empty.\n` : `${volume ?? path} is in ${device}.\n`,
  );
}
