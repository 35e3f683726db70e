/** `domain create`: a good modern guest from a few options. */
import { type Command, Option } from 'commander';
import type { ParamsInput } from '../../api/index.ts';
import { parseSize } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { stateSentence } from '../domains.ts';
import {
  addCloudImageOptions,
  type CloudImage,
  type CloudImageOptions,
  cloudImageOf,
  hasCloudImageOptions,
} from '../options/cloud-image.ts';
import { parseDisk } from '../options/disk.ts';
import { parseDuration } from '../options/duration.ts';
import { badOption, parseCount } from '../options/fields.ts';
import { parseNetworks } from '../options/network.ts';
import { watchingImport } from '../watch-import.ts';
import { type AddCommand, collect } from './command.ts';
import { attachTo, startWithConsole } from './domain-console.ts';
import { type WaitGoal, waitFor, waitText } from './domain-inspect.ts';

type CreateParams = ParamsInput<'domain.create'>;

/** What a guest is made of; `create` and `run` share these options. */
export interface HardwareOptions {
  readonly memory: string;
  readonly vcpus: string;
  readonly disk?: readonly string[];
  readonly cdrom?: string;
  readonly network?: readonly string[];
  readonly kernel?: string;
  readonly initrd?: string;
  readonly cmdline?: string;
  readonly graphics?: NonNullable<CreateParams['graphics']>;
  readonly firmware?: NonNullable<CreateParams['firmware']>;
  readonly type?: NonNullable<CreateParams['virtType']>;
  readonly arch?: string;
  readonly machine?: string;
}

interface CreateOptions extends HardwareOptions, CloudImageOptions {
  readonly image?: string;
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly start?: boolean;
  readonly autostart?: boolean;
  readonly transient?: boolean;
  readonly console?: boolean;
  readonly wait?: WaitGoal;
  readonly timeout: string;
}

/** Help of a param of domain.create. */
const help = (param: string) => paramHelp('domain.create', param);

/** Adds the options of HardwareOptions. */
export function addHardwareOptions(command: Command, defaults: { readonly memory: string }): Command {
  return command
    .option('--memory <size>', 'Memory, with a unit (512MiB, 2GiB).', defaults.memory)
    .option('--vcpus <count>', help('vcpus'), '1')
    .option(
      '--disk <disk>',
      'pool=POOL,size=10GiB, vol=POOL/NAME or path=FILE, each with [,size=10GiB][,format=qcow2|raw][,bus=virtio|scsi|sata|ide|usb][,readonly=yes]: a disk; with a size, one that is not there is made. May be given several times.',
      collect,
    )
    .option('--cdrom <file>', help('cdrom'))
    .option(
      '--network <network>',
      'user[,forward=tcp:2222:22]..., passt[,forward=...], network=NAME, bridge=NAME, segment=NAME, each with [,model=virtio], or none. May be given several times. When not given: the network default where it is active, else user.',
      collect,
    )
    .option('--kernel <file>', help('kernel'))
    .option('--initrd <file>', help('initrd'))
    .option('--cmdline <text>', help('cmdline'))
    .addOption(new Option('--graphics <type>', help('graphics')).choices(['vnc', 'spice', 'none']))
    .addOption(new Option('--firmware <type>', 'Firmware: BIOS, or UEFI.').choices(['bios', 'efi']))
    .addOption(new Option('--type <type>', help('virtType')).choices(['auto', 'kvm', 'qemu']))
    .option('--arch <arch>', help('arch'))
    .option('--machine <machine>', help('machine'));
}

/** The params that the hardware options stand for. @throws VirtError request.invalid */
export function hardwareParams(cli: Cli, options: HardwareOptions): Omit<CreateParams, 'name'> {
  const file = (path: string | undefined) => (path === undefined ? undefined : cli.absolute(path));
  const { graphics, firmware, type, arch, machine, cmdline } = options;
  return dropUndefined({
    memoryBytes: parseMemory(options.memory),
    vcpus: parseCount('--vcpus', options.vcpus, { min: 1, max: 4096 }),
    disks: options.disk?.map((disk) => parseDisk(disk, cli.world.cwd)),
    networks: options.network && parseNetworks(options.network),
    cdrom: file(options.cdrom),
    kernel: file(options.kernel),
    initrd: file(options.initrd),
    cmdline,
    graphics,
    firmware,
    virtType: type,
    arch,
    machine,
  });
}

// QEMU starts with a megabyte, but a bare number is nearly always meant in another unit than bytes.
function parseMemory(text: string): number {
  if (/^\d+$/.test(text))
    throw badOption(
      '--memory',
      text,
      'the size has no unit',
      `write --memory ${text}MiB or --memory ${text}GiB`,
    );
  return parseSize(text);
}

/** An object without its undefined members, which the contract does not know. */
function dropUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

export const addCreate: AddCommand = (parent, cli) => {
  const command = parent
    .command('create')
    .summary('make a new domain from options')
    .description(
      `${methodSummary('domain.create')} KVM is used where it is usable; else it is emulated, with a warning.`,
    )
    .requiredOption('--name <name>', 'Name of the new domain.');
  addHardwareOptions(command, { memory: '1GiB' }).option(
    '--image <image>',
    "Cloud image to boot from, like debian:13 ('vireo image search' shows them); its disk becomes volume NAME.qcow2.",
  );
  addCloudImageOptions(command)
    .option('--title <text>', 'One line that tells what it is for.')
    .option('--description <text>', 'Longer text about it.')
    .option('--start', help('start'))
    .option('--autostart', help('autostart'))
    .option('--transient', help('transient'))
    .option('--console', 'Start it and attach to its console.')
    .addOption(
      new Option('--wait <sign>', 'Start it, and wait until it has an address or answers.')
        .choices(['address', 'agent', 'ssh'])
        .conflicts('console'),
    )
    .option('--timeout <time>', 'How long --wait waits at most.', '2m')
    .addHelpText('after', examples)
    .action((options: CreateOptions) => create(cli, options));
};

const examples = `
Examples:
  vireo domain create --name web --memory 2GiB --vcpus 2 \\
    --disk path=/srv/web.qcow2,size=10GiB --cdrom debian.iso --graphics vnc --start
  vireo domain create --name db --image debian:13 --disk-size 40GiB --start
  vireo domain create --name tiny --kernel vmlinuz --initrd initrd.img --cmdline console=ttyS0 \\
    --network user,forward=tcp:2222:22 --console`;

async function create(cli: Cli, options: CreateOptions): Promise<void> {
  const {
    name,
    title,
    description,
    autostart = false,
    transient = false,
    console: attaches = false,
    wait,
  } = options;
  const timeoutMs = parseDuration('--timeout', options.timeout);
  if (attaches && cli.out.isJson)
    throw badOption('--console', name, 'a console has no JSON form', 'leave --console or --json out');
  const isStarted = options.start === true || transient || wait !== undefined;
  const cloud = await cloudOf(cli, options);
  const params: CreateParams = {
    name,
    ...hardwareParams(cli, options),
    ...(cloud && { image: cloud.spec }),
    ...(title !== undefined && { title }),
    ...(description !== undefined && { description }),
    transient,
    autostart,
    // For the console's sake the start comes after the creation, so that no output is missed.
    start: isStarted && (!attaches || transient),
  };
  await cli.withClient(async (client) => {
    const make = () => client.call('domain.create', params);
    const pool = cloud?.spec.pool ?? 'default';
    const result = cloud ? await watchingImport(cli, client, pool, make) : await make();
    for (const warning of result.warnings) cli.out.warn(warning);
    const { domain } = result;
    if (wait !== undefined && cli.out.isJson) {
      // One document, of the domain as it is then.
      cli.out.result({ ...result, domain: await waitFor(client, domain.uuid, wait, timeoutMs) }, () => '');
      return;
    }
    cli.out.result(
      // For a program there is no other place to read it.
      { ...result, ...(cloud?.password !== undefined && { password: cloud.password }) },
      () => `Domain '${domain.name}' is made (${domain.uuid}).\n${nextStep(result.domain)}`,
    );
    if (cloud && result.login !== null) tellLogin(cli, domain.name, result.login, cloud);
    if (wait !== undefined) {
      cli.out.write(waitText(await waitFor(client, domain.uuid, wait, timeoutMs), wait));
    }
    if (!attaches) return;
    if (domain.active) await attachTo(cli, domain.uuid, {});
    else await startWithConsole(cli, client, { domain: domain.uuid });
  });
}

/** @throws VirtError request.invalid for options of cloud images without one */
async function cloudOf(cli: Cli, options: CreateOptions): Promise<CloudImage | undefined> {
  const { image } = options;
  if (image !== undefined) return cloudImageOf(cli, image, options, { password: false });
  if (!hasCloudImageOptions(options)) return undefined;
  throw badOption('--name', options.name, 'keys, users and disk sizes are for cloud images', 'add --image');
}

/** How to come in: the password stands nowhere else. */
function tellLogin(cli: Cli, name: string, user: string, { spec, password, hasKeys }: CloudImage): void {
  if (spec.userData !== undefined) return;
  if (password !== undefined)
    cli.out.note(
      `Log in at its console ('vireo console ${quoted(name)}') as '${user}', password: ${password}`,
    );
  if (hasKeys)
    cli.out.note(
      `By SSH: ssh ${user}@ADDRESS; 'vireo show ${quoted(name)}' tells the address when it is up.`,
    );
}

function nextStep(
  domain: { readonly name: string; readonly active: boolean } & Parameters<typeof stateSentence>[0],
) {
  return domain.active ? `${stateSentence(domain)}\n` : `Start it with: vireo start ${quoted(domain.name)}\n`;
}

/** A name as a shell takes it. */
function quoted(name: string): string {
  return /^[A-Za-z0-9_.:+-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}
