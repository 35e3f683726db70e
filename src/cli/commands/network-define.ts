/** `network define|undefine|create|create-xml|xml|edit|update`: definitions of networks. */
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { updateCommands, updateSections } from '../../model/network/update.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { editDefinition } from '../edit-definition.ts';
import { forEachNamed } from '../for-each.ts';
import { safeLines } from '../format/table.ts';
import { NETWORK_HELP } from '../networks.ts';
import { badOption, parseCount } from '../options/fields.ts';
import { type AddCommand, collect } from './command.ts';
import { lenientHelp, readDocument, warnDropped } from './domain-define.ts';
import { undoNote } from './undo.ts';

const FILE_HELP = 'File with network XML; - is standard input.';

export const addNetworkDefine: AddCommand = (parent, cli) => {
  parent
    .command('define')
    .summary('store a definition from a file')
    .description(methodSummary('network.define'))
    .argument('<file>', FILE_HELP)
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false }: { readonly lenient?: boolean }) => {
      const xml = await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('network.define', { xml, strict: !lenient }),
      );
      reportDefined(cli, result);
    });
};

function reportDefined(cli: Cli, result: Result<'network.define'>): void {
  const { network, dropped, warnings } = result;
  warnDropped(cli, dropped);
  for (const warning of warnings) cli.out.warn(warning);
  const later = network.active ? ', and counts from its next start' : '';
  cli.out.result(result, () => `Network '${network.name}' is stored${later} (${network.uuid}).\n`);
}

export const addNetworkUndefine: AddCommand = (parent, cli) => {
  parent
    .command('undefine')
    .summary('forget a definition')
    .description(`${methodSummary('network.undefine')} An active network stays until it is stopped.`)
    .argument('<network...>', NETWORK_HELP)
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, network) => {
        const { name, active } = await client.call('network.get', { network });
        const { undo } = await client.call('network.undefine', { network });
        const rest = active ? '; it stays until it is stopped' : '';
        return {
          document: { network: name, undo },
          said: `The definition of '${name}' is gone${rest}.${undoNote(undo)}`,
        };
      }),
    );
};

interface CreateOptions {
  readonly mode: NonNullable<ParamsInput<'network.create'>['mode']>;
  readonly subnet?: string;
  readonly domainName?: string;
  readonly bridge?: string;
  readonly interface?: readonly string[];
  readonly dhcp: boolean;
  readonly start?: boolean;
  readonly autostart?: boolean;
}

export const addNetworkCreate: AddCommand = (parent, cli) => {
  parent
    .command('create')
    .summary('make a new network')
    .description(methodSummary('network.create'))
    .argument('<name>', 'Its name.')
    .addOption(
      new Option('--mode <mode>', paramHelp('network.create', 'mode'))
        .choices(['nat', 'route', 'open', 'isolated', 'bridge', 'private', 'vepa', 'passthrough'])
        .default('nat'),
    )
    .option('--subnet <subnet>', paramHelp('network.create', 'subnet'))
    .option('--domain-name <name>', paramHelp('network.create', 'domainName'))
    .option('--bridge <name>', paramHelp('network.create', 'bridge'))
    .option(
      '--interface <name>',
      `${paramHelp('network.create', 'interfaces')} May be given several times.`,
      collect,
    )
    .option('--no-dhcp', 'Give no addresses to guests.')
    .option('--start', paramHelp('network.create', 'start'))
    .option('--autostart', paramHelp('network.create', 'autostart'))
    .action((name: string, options: CreateOptions) => create(cli, name, options));
};

async function create(cli: Cli, name: string, options: CreateOptions): Promise<void> {
  const { interface: interfaces, ...wish } = options;
  const result = await cli.withClient((client) =>
    client.call('network.create', { name, ...wish, ...(interfaces && { interfaces: [...interfaces] }) }),
  );
  const { network, warnings } = result;
  for (const warning of warnings) cli.out.warn(warning);
  const state = network.active ? 'active' : 'stored';
  cli.out.result(result, () => `Network '${network.name}' is ${state}: ${placeText(network, interfaces)}.\n`);
}

/** Where it is: subnets on a bridge, a bridge of the host, or its interfaces. */
function placeText(
  { subnets, bridge }: Result<'network.create'>['network'],
  interfaces: readonly string[] = [],
): string {
  const place = `on ${bridge ?? interfaces.join(', ')}`;
  return subnets.length > 0 ? `${subnets.join(', ')} ${place}` : place;
}

export const addNetworkCreateXml: AddCommand = (parent, cli) => {
  parent
    .command('create-xml')
    .summary('start a transient network from a file')
    .description(methodSummary('network.create-xml'))
    .argument('<file>', FILE_HELP)
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false }: { readonly lenient?: boolean }) => {
      const xml = await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('network.create-xml', { xml, strict: !lenient }),
      );
      warnDropped(cli, result.dropped);
      cli.out.result(result, () => `Network '${result.network.name}' is active.\n`);
    });
};

export const addNetworkXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print the definition')
    .description(methodSummary('network.xml'))
    .argument('<network>', NETWORK_HELP)
    .option('--inactive', paramHelp('network.xml', 'inactive'))
    .action(async (network: string, { inactive = false }: { readonly inactive?: boolean }) => {
      const result = await cli.withClient((client) => client.call('network.xml', { network, inactive }));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

export const addNetworkEdit: AddCommand = (parent, cli) => {
  parent
    .command('edit')
    .summary('change the definition in your editor')
    .description(
      "Opens the stored definition in $VISUAL or $EDITOR, and stores what you made of it; it counts from the network's next start. A definition that is refused can be edited again; its text is never lost.",
    )
    .argument('<network>', NETWORK_HELP)
    .option('--lenient', lenientHelp)
    .action((name: string, { lenient = false }: { readonly lenient?: boolean }) => edit(cli, name, !lenient));
};

async function edit(cli: Cli, name: string, strict: boolean): Promise<void> {
  await editDefinition(cli, {
    noun: 'network',
    name,
    read: () => cli.withClient((client) => client.call('network.xml', { network: name, inactive: true })),
    store: async (xml) =>
      reportDefined(cli, await cli.withClient((client) => client.call('network.define', { xml, strict }))),
    commands: { show: 'vireo network xml --inactive', define: 'vireo network define' },
  });
}

interface UpdateOptions {
  readonly parentIndex?: string;
  readonly live?: boolean;
  readonly stored?: boolean;
}

export const addNetworkUpdate: AddCommand = (parent, cli) => {
  parent
    .command('update')
    .summary('change one part; guests stay connected')
    .description(methodSummary('network.update'))
    .argument('<network>', NETWORK_HELP)
    .argument('<command>', `One of ${updateCommands.join(', ')}.`)
    .argument('<section>', `One of ${updateSections.join(', ')}.`)
    .argument('<xml>', "The element, or @FILE: \"<host mac='52:54:00:1:2:3' ip='192.168.122.10'/>\".")
    .option('--parent-index <number>', paramHelp('network.update', 'parentIndex'))
    .option('--live', 'Change the active network only.')
    .addOption(new Option('--stored', 'Change the stored definition only.').conflicts('live'))
    .action((network: string, command: string, section: string, xml: string, options: UpdateOptions) =>
      update(cli, { network, command, section, xml, ...options }),
    );
};

type Update = UpdateOptions & {
  readonly network: string;
  readonly command: string;
  readonly section: string;
  readonly xml: string;
};

async function update(cli: Cli, wish: Update): Promise<void> {
  const { network, xml, parentIndex, live, stored } = wish;
  const command = oneOf(updateCommands, 'command', wish.command);
  const section = oneOf(updateSections, 'section', wish.section);
  const element = xml.startsWith('@') ? await readDocument(cli, xml.slice(1)) : xml;
  await cli.withClient((client) =>
    client.call('network.update', {
      network,
      command,
      section,
      xml: element,
      ...(parentIndex !== undefined && {
        parentIndex: parseCount('--parent-index', parentIndex, { min: 0, max: 1000 }),
      }),
      ...(live === true && { live: true, stored: false }),
      ...(stored === true && { live: false, stored: true }),
    }),
  );
  cli.out.result({ network, command, section }, () => `Network '${network}' is changed.\n`);
}

function oneOf<const T extends string>(words: readonly T[], what: string, text: string): T {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw badOption(`the ${what}`, text, 'there is no such one', `it is one of ${words.join(', ')}`);
}
