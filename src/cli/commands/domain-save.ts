/** `domain save|restore|managed-save|dump|save-image`: states of guests in files. */
import { type Command, Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { saveFormats } from '../../model/saved-state/image.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, forEachDomain, nameOf, stateSentence, withDomain } from '../domains.ts';
import { editDefinition } from '../edit-definition.ts';
import { badOption, parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { readDocument } from './domain-define.ts';

interface StateOptions {
  readonly running?: boolean;
  readonly paused?: boolean;
}

interface SaveOptions extends StateOptions {
  readonly format?: (typeof saveFormats)[number];
  readonly bypassCache?: boolean;
  readonly channels?: string;
  readonly xml?: string;
}

function stateOf({ running = false, paused = false }: StateOptions): { state?: 'running' | 'paused' } {
  if (running && paused) throw badOption('--paused', '', '--running was given too');
  return running ? { state: 'running' } : paused ? { state: 'paused' } : {};
}

function withState(command: Command): Command {
  return command
    .option('--running', 'Let it run after the restore, also when it was paused.')
    .option('--paused', 'Leave it paused after the restore.');
}

function withFormat(command: Command): Command {
  return withState(command)
    .addOption(new Option('--format <format>', 'How the state is packed.').choices([...saveFormats]))
    .option('--bypass-cache', paramHelp('domain.save', 'bypassCache'))
    .option('--channels <count>', paramHelp('domain.save', 'channels'));
}

/** What a call is given of the options, the document read from its file. */
async function howOf(cli: Cli, { format, bypassCache, channels, xml, ...state }: SaveOptions) {
  return {
    ...stateOf(state),
    ...(format !== undefined && { format }),
    ...(bypassCache !== undefined && { bypassCache }),
    ...(channels !== undefined && { channels: parseCount('--channels', channels, { min: 1, max: 255 }) }),
    ...(xml !== undefined && { xml: await readDocument(cli, xml) }),
  };
}

export const addSave: AddCommand = (parent, cli) => {
  withFormat(
    parent
      .command('save')
      .summary('save a guest to a file')
      .description(methodSummary('domain.save'))
      .argument('<domain>', DOMAIN_HELP)
      .argument('<file>', 'The file to make.')
      .option('--xml <file>', paramHelp('domain.save', 'xml')),
  ).action(async (name: string, file: string, options: SaveOptions) => {
    const path = cli.absolute(file);
    const how = await howOf(cli, options);
    const result = await withDomain(cli, name, (client, domain) =>
      client.call('domain.save', { domain, path, ...how }),
    );
    cli.out.result(result, () => `Domain '${result.name}' is saved to ${path}.\n`);
  });
};

export const addRestore: AddCommand = (parent, cli) => {
  withState(
    parent
      .command('restore')
      .summary('start a guest from a file')
      .description(methodSummary('domain.restore'))
      .argument('<file>', "A file that 'save' made, or virsh's.")
      .option('--bypass-cache', paramHelp('domain.restore', 'bypassCache'))
      .option('--channels <count>', paramHelp('domain.restore', 'channels'))
      .option('--xml <file>', paramHelp('domain.restore', 'xml')),
  ).action(async (file: string, options: SaveOptions) => {
    const how = await howOf(cli, options);
    const path = cli.absolute(file);
    const result = await cli.withClient((client) => client.call('domain.restore', { path, ...how }));
    cli.out.result(result, () => `${stateSentence(result)}\n`);
  });
};

interface ManagedOptions extends SaveOptions {
  readonly remove?: boolean;
  readonly show?: boolean;
  readonly edit?: boolean;
}

export const addManagedSave: AddCommand = (parent, cli) => {
  withFormat(
    parent
      .command('managed-save')
      .summary('save a guest; its next start goes on from there')
      .description(methodSummary('domain.managed-save'))
      .argument('<domain...>', 'Names, uuids or ids.')
      .option('--remove', methodSummary('domain.managed-save.remove'))
      .option('--show', 'Show the definition in the state that is kept.')
      .option('--edit', 'Edit the definition in the state that is kept.'),
  ).action((names: string[], options: ManagedOptions) => managedSave(cli, names, options));
};

async function managedSave(cli: Cli, names: readonly string[], options: ManagedOptions): Promise<void> {
  const { remove = false, show = false, edit = false, ...wishes } = options;
  const [name = ''] = names;
  if (show)
    return showState(
      cli,
      await withDomain(cli, name, (client, domain) => client.call('domain.managed-save.get', { domain })),
    );
  if (edit) return editManaged(cli, name);
  const how = await howOf(cli, wishes);
  await forEachDomain(cli, names, async (client, domain) => {
    if (!remove) {
      const document = await client.call('domain.managed-save', { domain, ...how });
      return { document, said: `Domain '${document.name}' is saved; its next start goes on from there.` };
    }
    await client.call('domain.managed-save.remove', { domain });
    return {
      document: { domain: nameOf(domain) },
      said: `The saved state of '${nameOf(domain)}' is given up.`,
    };
  });
}

function showState(cli: Cli, state: Result<'save-image.get'>): void {
  cli.out.result(state, () => state.xml);
}

function editManaged(cli: Cli, name: string): Promise<void> {
  return editDefinition(cli, {
    noun: 'domain',
    name,
    read: () =>
      withDomain(cli, name, (client, domain) =>
        client.call('domain.managed-save.get', { domain, secure: true }),
      ),
    store: async (xml) => {
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.managed-save.edit', { domain, xml }),
      );
      cli.out.result({ changed: true }, () => `The saved state of '${name}' has the new definition.\n`);
    },
    commands: {
      show: `vireo domain managed-save --show ${name}`,
      define: 'vireo call domain.managed-save.edit',
    },
  });
}

/** `domain save-image show|edit|set`. */
export const addSaveImage: AddCommand = (parent, cli) => {
  const image = parent
    .command('save-image')
    .summary('definitions in files with saved states')
    .description('Shows and changes what files with saved states say.');
  addImageShow(image, cli);
  addImageEdit(image, cli);
  addImageSet(image, cli);
};

const FILE_HELP = 'A file with a saved state.';

const addImageShow: AddCommand = (parent, cli) => {
  parent
    .command('show')
    .summary('show the definition in it')
    .description(methodSummary('save-image.get'))
    .argument('<file>', FILE_HELP)
    .option('--secure', paramHelp('save-image.get', 'secure'))
    .action(async (file: string, { secure = false }: { readonly secure?: boolean }) => {
      const path = cli.absolute(file);
      showState(cli, await cli.withClient((client) => client.call('save-image.get', { path, secure })));
    });
};

const addImageEdit: AddCommand = (parent, cli) => {
  parent
    .command('edit')
    .summary('edit the definition in it')
    .description(`${methodSummary('save-image.edit')} An editor is opened.`)
    .argument('<file>', FILE_HELP)
    .action((file: string) => {
      const path = cli.absolute(file);
      return editDefinition(cli, {
        noun: 'domain',
        name: file,
        read: () => cli.withClient((client) => client.call('save-image.get', { path, secure: true })),
        store: (xml) => change(cli, { path, xml }),
        commands: {
          show: `vireo domain save-image show --secure ${file}`,
          define: `vireo domain save-image set ${file} --xml`,
        },
      });
    });
};

const addImageSet: AddCommand = (parent, cli) => {
  withState(
    parent
      .command('set')
      .summary('replace the definition in it, or what its guest will be')
      .description(methodSummary('save-image.edit'))
      .argument('<file>', FILE_HELP)
      .option('--xml <file>', paramHelp('save-image.edit', 'xml')),
  ).action(async (file: string, options: SaveOptions) => {
    await change(cli, { path: cli.absolute(file), ...(await howOf(cli, options)) });
  });
};

async function change(cli: Cli, params: ParamsInput<'save-image.edit'>): Promise<void> {
  await cli.withClient((client) => client.call('save-image.edit', params));
  cli.out.result({ changed: true }, () => `${params.path} is changed.\n`);
}

interface DumpOptions {
  readonly format?: ParamsInput<'domain.dump'>['format'];
  readonly live?: boolean;
  readonly destroy?: boolean;
  readonly reset?: boolean;
  readonly bypassCache?: boolean;
}

export const addDump: AddCommand = (parent, cli) => {
  parent
    .command('dump')
    .summary("write a guest's memory to a file")
    .description(methodSummary('domain.dump'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<file>', 'The file to make.')
    .addOption(
      new Option(
        '--format <format>',
        'What is written: a core for gdb (elf), a packed one for crash, or the state.',
      )
        .choices(['elf', 'kdump-zlib', 'kdump-lzo', 'kdump-snappy', 'win-dmp', 'state'])
        .default('elf'),
    )
    .option('--live', paramHelp('domain.dump', 'live'))
    .option('--destroy', 'End the guest then.')
    .option('--reset', 'Reset the guest then.')
    .option('--bypass-cache', paramHelp('domain.dump', 'bypassCache'))
    .action(async (name: string, file: string, { destroy, reset, ...options }: DumpOptions) => {
      if (destroy && reset) throw badOption('--reset', '', '--destroy was given too');
      const afterwards = destroy ? ('destroy' as const) : reset ? ('reset' as const) : undefined;
      const path = cli.absolute(file);
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.dump', { domain, path, ...options, ...(afterwards && { afterwards }) }),
      );
      cli.out.result(result, () => `The memory of '${result.name}' is in ${path}.\n`);
    });
};
