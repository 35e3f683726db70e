/** `run`: a throw-away guest with its console in this terminal; it is gone when it or the terminal ends. */
import { nanoid } from 'nanoid';
import type { VireoClient } from '../../api/client.ts';
import type { ParamsInput } from '../../api/index.ts';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import { readImageReference } from '../../model/storage/image-reference.ts';
import type { Cli } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { freePort } from '../free-port.ts';
import { withInterrupt } from '../interrupt.ts';
import {
  addCloudImageOptions,
  type CloudImage,
  type CloudImageOptions,
  cloudImageOf,
  hasCloudImageOptions,
} from '../options/cloud-image.ts';
import { type DiskSpec, parseDisk } from '../options/disk.ts';
import { badOption } from '../options/fields.ts';
import { createOverlay, formatByName, type Overlay } from '../overlay.ts';
import { watchingImport } from '../watch-import.ts';
import type { AddCommand } from './command.ts';
import { openConsole, runConsole } from './domain-console.ts';
import { addHardwareOptions, type HardwareOptions, hardwareParams } from './domain-create.ts';

interface RunOptions extends HardwareOptions, CloudImageOptions {
  readonly name?: string;
  readonly keepChanges?: boolean;
}

const examples = `
Examples:
  vireo run debian:13
  vireo run ubuntu:noble --memory 2GiB --user me --disk-size 40GiB
  vireo run debian.qcow2 --memory 1GiB --network user,forward=2222:22
  vireo run --kernel vmlinuz --initrd initrd.img --cmdline console=ttyS0`;

export const addRun: AddCommand = (parent, cli) => {
  const command = parent
    .command('run')
    .summary('run a throw-away guest in this terminal')
    .description(
      'Boots a guest from a disk image or a kernel and attaches to its console. It vanishes when it stops, or when you leave with Ctrl-]. The image is not changed: writes go to a temporary overlay. A name such as debian:13 is a cloud image of the catalogue, which is pulled when it is not here.',
    )
    .argument(
      '[image]',
      'Disk image to boot from, or a cloud image (debian:13); fields of a disk may follow as with --disk (IMAGE,format=raw,bus=sata).',
    )
    .option('--name <name>', 'Name of the guest (default: run- and some letters).')
    .option('--keep-changes', 'Write to the image itself.');
  addCloudImageOptions(addHardwareOptions(command, { memory: '512MiB' }))
    .addHelpText('after', examples)
    .action(async (image: string | undefined, options: RunOptions) => {
      const isCloud = image !== undefined && (await isCloudImage(cli, image));
      if (!isCloud) return runGuest(cli, image, options);
      // What cloud-init does at the first boot of most distributions does not fit into less.
      const memory = command.getOptionValueSource('memory') === 'default' ? '1GiB' : options.memory;
      return runCloudImage(cli, image, { ...options, memory });
    });
};

/** A name of the catalogue; a file of that name comes first. */
async function isCloudImage(cli: Cli, image: string): Promise<boolean> {
  return readImageReference(image) !== undefined && (await statIfPresent(cli.absolute(image))) === undefined;
}

function refuseJson(cli: Cli): void {
  if (cli.out.isJson)
    throw badOption('--json', 'run', 'a console has no JSON form', "use 'vireo domain create --transient'");
}

const newName = (): string => `run-${nanoid(8).replace(/[^A-Za-z0-9]/g, 'x')}`;

/** A guest from a cloud image: its disk and seed are gone with it, the image stays for the next one. */
async function runCloudImage(cli: Cli, image: string, options: RunOptions): Promise<void> {
  refuseJson(cli);
  if (options.keepChanges === true)
    throw badOption('--keep-changes', image, 'a cloud image is shared', "use 'vireo domain create --image'");
  const hardware = hardwareParams(cli, options);
  const cloud = await cloudImageOf(cli, image, options, { password: true });
  const sshPort = hardware.networks === undefined ? await freePort() : undefined;
  const networks =
    sshPort === undefined
      ? hardware.networks
      : [{ type: 'user' as const, portForwards: [{ hostPort: sshPort, guestPort: 22 }] }];
  const params = { ...hardware, networks, name: options.name ?? newName(), image: cloud.spec };
  await withInterrupt((signal) =>
    cli.withClient((client) =>
      runWith(cli, client, { params, signal, overlay: undefined, cloud: { ...cloud, sshPort } }),
    ),
  );
}

/** How to come in. */
function tellLogin(cli: Cli, user: string, { password, hasKeys, sshPort, spec }: CloudLogin): void {
  if (spec.userData !== undefined) return;
  if (password !== undefined) cli.out.note(`Log in here as '${user}', password: ${password}`);
  if (hasKeys && sshPort !== undefined)
    cli.out.note(`By SSH, when it is up: ssh -p ${sshPort} ${user}@127.0.0.1`);
}

type CloudLogin = CloudImage & { readonly sshPort: number | undefined };

async function runGuest(cli: Cli, image: string | undefined, options: RunOptions): Promise<void> {
  if (hasCloudImageOptions(options))
    throw badOption(
      'the image',
      image ?? '',
      'keys, users and disk sizes are for cloud images of the catalogue',
      "name one, like debian:13; 'vireo image search' shows them",
    );
  if (image === undefined && options.kernel === undefined && options.cdrom === undefined && !options.disk)
    throw new VirtError('request.invalid', {
      wanted: 'run a guest',
      reason: 'there is nothing to boot',
      hint: 'name a disk image, or give --kernel and --initrd, or --cdrom',
    });
  refuseJson(cli);
  const hardware = hardwareParams(cli, options);
  await withInterrupt(async (signal) => {
    const boot = image === undefined ? undefined : await bootDisk(cli, image, options);
    try {
      const params = {
        ...hardware,
        name: options.name ?? newName(),
        disks: [...(boot ? [boot.disk] : []), ...(hardware.disks ?? [])],
      };
      const overlay = boot?.overlay;
      await cli.withClient((client) => runWith(cli, client, { params, signal, overlay }));
    } finally {
      await boot?.overlay?.remove();
    }
  });
}

interface BootDisk {
  readonly disk: DiskSpec;
  readonly overlay?: Overlay;
}

async function bootDisk(cli: Cli, image: string, options: RunOptions): Promise<BootDisk> {
  const { createBytes, path, ...disk } = parseDisk(image, cli.world.cwd);
  if (path === undefined)
    throw badOption('the image', image, 'it is a volume', 'give its path, or boot it with --disk');
  if (createBytes !== undefined)
    throw badOption('the image', image, 'a new image has nothing to boot', 'leave the size out');
  const format = disk.format ?? formatByName(path);
  if (options.keepChanges === true) return { disk: { ...disk, path, format } };
  const overlay = await createOverlay({ path, format }, cli.world.env);
  return { overlay, disk: { ...disk, path: overlay.path, format: 'qcow2', below: { path, format } } };
}

interface Guest {
  readonly params: ParamsInput<'domain.create'>;
  readonly signal: AbortSignal;
  readonly overlay: Overlay | undefined;
  /** Of a cloud image. */
  readonly cloud?: CloudLogin;
}

/**
 * Starts the guest with its CPUs stopped, stored nowhere, and lets it go when the console is attached: so not a byte of
 * its output is missed. It belongs to the client's connection, and the daemon destroys it when that ends, even by kill -9.
 */
async function runWith(cli: Cli, client: VireoClient, guest: Guest): Promise<void> {
  const request = { ...guest.params, transient: true, paused: true, autodestroy: true };
  const create = () => client.call('domain.create', request, { signal: guest.signal });
  const pool = guest.params.image?.pool ?? 'default';
  const {
    domain: created,
    warnings,
    login,
  } = guest.cloud ? await watchingImport(cli, client, pool, create) : await create();
  for (const warning of warnings) cli.out.warn(warning);
  if (guest.cloud && login !== null) tellLogin(cli, login, guest.cloud);
  const domain = created.uuid;
  try {
    // QEMU has it open by a descriptor: with no name left, nothing can be left behind, not even by kill -9.
    await guest.overlay?.remove();
    const console = await openConsole(client, domain, {});
    const attached = runConsole(cli, console, {
      name: created.name,
      signal: guest.signal,
      leaving: 'Ctrl-] ends the guest',
    });
    await client.call('domain.resume', { domain });
    if ((await attached) === 'aborted') cli.exitCode = exitCodes.interrupted;
  } finally {
    await putAway(client, domain);
  }
  cli.out.note(`The guest '${created.name}' is gone.`);
}

/** Ends the guest if there still is one. */
async function putAway(client: VireoClient, domain: string): Promise<void> {
  try {
    await client.call('domain.destroy', { domain });
  } catch (error) {
    // It stopped by itself a moment ago.
    if (!isVirtError(error, 'domain.not-found') && !isVirtError(error, 'domain.inactive')) throw error;
  }
}
