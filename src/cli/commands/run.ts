/** `run`: a throw-away guest with its console in this terminal; it is gone when it or the terminal ends. */
import { nanoid } from 'nanoid';
import type { VireoClient } from '../../api/client.ts';
import type { ParamsInput } from '../../api/index.ts';
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { Cli } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { withInterrupt } from '../interrupt.ts';
import { type DiskSpec, parseDisk } from '../options/disk.ts';
import { badOption } from '../options/fields.ts';
import { createOverlay, formatByName, type Overlay } from '../overlay.ts';
import type { AddCommand } from './command.ts';
import { openConsole, runConsole } from './domain-console.ts';
import { addHardwareOptions, type HardwareOptions, hardwareParams } from './domain-create.ts';

interface RunOptions extends HardwareOptions {
  readonly name?: string;
  readonly keepChanges?: boolean;
}

const examples = `
Examples:
  vireo run debian.qcow2 --memory 1GiB --network user,forward=2222:22
  vireo run --kernel vmlinuz --initrd initrd.img --cmdline console=ttyS0`;

export const addRun: AddCommand = (parent, cli) => {
  const command = parent
    .command('run')
    .summary('run a throw-away guest in this terminal')
    .description(
      'Boots a guest from a disk image or a kernel and attaches to its console. It vanishes when it stops, or when you leave with Ctrl-]. The image is not changed: writes go to a temporary overlay.',
    )
    .argument(
      '[image]',
      'Disk image to boot from; fields may follow as with --disk (IMAGE,format=raw,bus=sata).',
    )
    .option('--name <name>', 'Name of the guest (default: run- and some letters).')
    .option('--keep-changes', 'Write to the image itself.');
  addHardwareOptions(command, { memory: '512MiB' })
    .addHelpText('after', examples)
    .action((image: string | undefined, options: RunOptions) => runGuest(cli, image, options));
};

async function runGuest(cli: Cli, image: string | undefined, options: RunOptions): Promise<void> {
  if (image === undefined && options.kernel === undefined && options.cdrom === undefined && !options.disk)
    throw new VirtError('request.invalid', {
      wanted: 'run a guest',
      reason: 'there is nothing to boot',
      hint: 'name a disk image, or give --kernel and --initrd, or --cdrom',
    });
  if (cli.out.isJson)
    throw badOption('--json', 'run', 'a console has no JSON form', "use 'vireo domain create --transient'");
  const hardware = hardwareParams(cli, options);
  await withInterrupt(async (signal) => {
    const boot = image === undefined ? undefined : await bootDisk(cli, image, options);
    try {
      const params = {
        ...hardware,
        name: options.name ?? `run-${nanoid(8).replace(/[^A-Za-z0-9]/g, 'x')}`,
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
  const { createBytes, ...disk } = parseDisk(image, cli.world.cwd);
  if (createBytes !== undefined)
    throw badOption('the image', image, 'a new image has nothing to boot', 'leave the size out');
  const format = disk.format ?? formatByName(disk.path);
  if (options.keepChanges === true) return { disk: { ...disk, format } };
  const overlay = await createOverlay({ path: disk.path, format }, cli.world.env);
  return { overlay, disk: { ...disk, path: overlay.path, format: 'qcow2' } };
}

interface Guest {
  readonly params: ParamsInput<'domain.create'>;
  readonly signal: AbortSignal;
  readonly overlay: Overlay | undefined;
}

/**
 * Starts the guest with its CPUs stopped, stored nowhere, and lets it go when the console is attached: so not a byte of
 * its output is missed. It belongs to the client's connection, and the daemon destroys it when that ends, even by kill -9.
 */
async function runWith(cli: Cli, client: VireoClient, guest: Guest): Promise<void> {
  const request = { ...guest.params, transient: true, paused: true, autodestroy: true };
  const { domain: created, warnings } = await client.call('domain.create', request);
  for (const warning of warnings) cli.out.warn(warning);
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
