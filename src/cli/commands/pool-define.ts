/** `pool define|undefine|create|create-xml|xml|edit`: definitions of storage pools. */
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { poolTypes } from '../../model/storage/pool/pool.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { editDefinition } from '../edit-definition.ts';
import { forEachNamed } from '../for-each.ts';
import { safeLines } from '../format/table.ts';

import { POOL_HELP } from '../volumes.ts';
import type { AddCommand } from './command.ts';
import { lenientHelp, readDocument, warnDropped } from './domain-define.ts';
import { undoNote } from './undo.ts';

const FILE_HELP = 'File with storage pool XML; - is standard input.';

export const addPoolDefine: AddCommand = (parent, cli) => {
  parent
    .command('define')
    .summary('store a definition from a file')
    .description(methodSummary('pool.define'))
    .argument('<file>', FILE_HELP)
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false }: { readonly lenient?: boolean }) => {
      const xml = await readDocument(cli, file);
      reportDefined(
        cli,
        await cli.withClient((client) => client.call('pool.define', { xml, strict: !lenient })),
      );
    });
};

function reportDefined(cli: Cli, result: Result<'pool.define'>): void {
  const { pool, dropped } = result;
  warnDropped(cli, dropped);
  const later = pool.active ? ', and counts from its next start' : '';
  cli.out.result(result, () => `Pool '${pool.name}' is stored${later} (${pool.uuid}).\n`);
}

export const addPoolUndefine: AddCommand = (parent, cli) => {
  parent
    .command('undefine')
    .summary('forget a definition')
    .description(methodSummary('pool.undefine'))
    .argument('<pool...>', POOL_HELP)
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, pool) => {
        const { name, active } = await client.call('pool.get', { pool });
        const { undo } = await client.call('pool.undefine', { pool });
        const rest = active ? '; it stays until it is stopped' : '';
        return {
          document: { pool: name, undo },
          said: `The definition of '${name}' is gone${rest}.${undoNote(undo)}`,
        };
      }),
    );
};

type CreateOptions = Omit<ParamsInput<'pool.create'>, 'name'>;

export const addPoolCreate: AddCommand = (parent, cli) => {
  parent
    .command('create')
    .summary('make a new pool')
    .description(`${methodSummary('pool.create')} It is started unless --no-start is given.`)
    .argument('<name>', 'Its name.')
    .argument('[path]', paramHelp('pool.create', 'path'))
    .addOption(new Option('--type <type>', 'Kind of the pool.').choices([...poolTypes]).default('dir'))
    .option('--source <source>', paramHelp('pool.create', 'source'))
    .option('--format <format>', paramHelp('pool.create', 'format'))
    .option('--build', 'Make its directory, file system or volume group first.')
    .option('--no-start', 'Do not start it.')
    .option('--autostart', paramHelp('pool.create', 'autostart'))
    .action((name: string, path: string | undefined, options: CreateOptions) =>
      create(cli, name, path, options),
    );
};

async function create(
  cli: Cli,
  name: string,
  path: string | undefined,
  options: CreateOptions,
): Promise<void> {
  const place = path === undefined ? {} : { path: cli.absolute(path) };
  const result = await cli.withClient((client) => client.call('pool.create', { name, ...place, ...options }));
  const { pool } = result;
  const state = pool.active ? `active, with ${pool.volumes} volumes` : 'stored';
  cli.out.result(
    result,
    () => `Pool '${pool.name}' is ${state}: ${pool.path ?? pool.source ?? pool.type}.\n`,
  );
}

export const addPoolCreateXml: AddCommand = (parent, cli) => {
  parent
    .command('create-xml')
    .summary('start a transient pool from a file')
    .description(methodSummary('pool.create-xml'))
    .argument('<file>', FILE_HELP)
    .option('--lenient', lenientHelp)
    .option('--build', paramHelp('pool.create-xml', 'build'))
    .action(
      async (file: string, { lenient = false, build = false }: { lenient?: boolean; build?: boolean }) => {
        const xml = await readDocument(cli, file);
        const result = await cli.withClient((client) =>
          client.call('pool.create-xml', { xml, strict: !lenient, build }),
        );
        warnDropped(cli, result.dropped);
        cli.out.result(result, () => `Pool '${result.pool.name}' is active.\n`);
      },
    );
};

export const addPoolXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print the definition')
    .description(methodSummary('pool.xml'))
    .argument('<pool>', POOL_HELP)
    .option('--inactive', paramHelp('pool.xml', 'inactive'))
    .action(async (pool: string, { inactive = false }: { readonly inactive?: boolean }) => {
      const result = await cli.withClient((client) => client.call('pool.xml', { pool, inactive }));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

export const addPoolEdit: AddCommand = (parent, cli) => {
  parent
    .command('edit')
    .summary('change the definition in your editor')
    .description(
      "Opens the stored definition in $VISUAL or $EDITOR, and stores what you made of it; it counts from the pool's next start. A definition that is refused can be edited again; its text is never lost.",
    )
    .argument('<pool>', POOL_HELP)
    .option('--lenient', lenientHelp)
    .action((name: string, { lenient = false }: { readonly lenient?: boolean }) => edit(cli, name, !lenient));
};

async function edit(cli: Cli, name: string, strict: boolean): Promise<void> {
  await editDefinition(cli, {
    noun: 'pool',
    name,
    read: () => cli.withClient((client) => client.call('pool.xml', { pool: name, inactive: true })),
    store: async (xml) =>
      reportDefined(cli, await cli.withClient((client) => client.call('pool.define', { xml, strict }))),
    commands: { show: 'vireo pool xml --inactive', define: 'vireo pool define' },
  });
}
