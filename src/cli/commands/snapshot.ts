/** `snapshot create|list|tree|info|xml|revert|delete|define`: what domains were. */
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { safeLines } from '../format/table.ts';
import { badOption } from '../options/fields.ts';
import { confirm } from '../prompt.ts';
import type { AddCommand } from './command.ts';
import { readDocument } from './domain-define.ts';
import { DRY_RUN_HELP, showPlan } from './snapshot-plan.ts';

const SNAPSHOT_HELP = 'Name of the snapshot.';

type Snapshot = Result<'snapshot.get'>;

export const addSnapshot: AddCommand = (parent, cli) => {
  const snapshot = parent
    .command('snapshot')
    .summary('snapshots of domains')
    .description('Makes snapshots of domains, returns to them, deletes them.');
  for (const add of [addCreate, addList, addTree, addInfo, addXml, addRevert, addDelete, addDefine])
    add(snapshot, cli);
};

interface CreateOptions {
  readonly description?: string;
  readonly diskOnly?: boolean;
  readonly memoryFile?: string;
  readonly disk?: readonly string[];
  readonly quiesce?: boolean;
  readonly live?: boolean;
  readonly halt?: boolean;
  readonly reuse?: boolean;
  readonly metadata?: boolean;
  readonly dryRun?: boolean;
}

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

const addCreate: AddCommand = (parent, cli) => {
  parent
    .command('create')
    .summary('make a snapshot')
    .description(methodSummary('snapshot.create'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('[name]', paramHelp('snapshot.create', 'name'))
    .option('--description <text>', 'What it is for.')
    .option('--disk-only', paramHelp('snapshot.create', 'diskOnly'))
    .option('--memory-file <path>', paramHelp('snapshot.create', 'memoryPath'))
    .option(
      '--disk <disk>',
      'One disk: vda,location=no or vdb,path=/srv/new.qcow2. Can be repeated.',
      collect,
    )
    .option('--quiesce', paramHelp('snapshot.create', 'quiesce'))
    .option('--live', paramHelp('snapshot.create', 'live'))
    .option('--halt', paramHelp('snapshot.create', 'halt'))
    .option('--reuse', paramHelp('snapshot.create', 'reuse'))
    .option('--no-metadata', 'Do not remember it.')
    .option('-n, --dry-run', DRY_RUN_HELP)
    .action(async (domain: string, name: string | undefined, options: CreateOptions) => {
      const { disk = [], memoryFile, dryRun = false, ...rest } = options;
      const wish = {
        ...rest,
        ...(name !== undefined && { name }),
        ...(memoryFile !== undefined && { memoryPath: cli.absolute(memoryFile) }),
        disks: disk.map(parseDiskChoice),
      };
      if (dryRun) return showPlan(cli, domain, { create: wish });
      const made = await withDomain(cli, domain, (client, ref) =>
        client.call('snapshot.create', { domain: ref, ...wish }),
      );
      cli.out.result(made, () => `Snapshot '${made.name}' is made.\n`);
    });
};

type DiskChoice = NonNullable<ParamsInput<'snapshot.create'>['disks']>[number];

/** `vda,location=no`, `vdb,path=/srv/new.qcow2`. @throws VirtError request.invalid */
export function parseDiskChoice(text: string): DiskChoice {
  const [target = '', ...fields] = text.split(',');
  const choice: Record<string, string> = {};
  for (const field of fields) {
    const [key = '', ...value] = field.split('=');
    if (!['location', 'path', 'format'].includes(key))
      throw badOption('--disk', text, `'${key}' is none of location, path, format`);
    choice[key] = value.join('=');
  }
  if (target === '') throw badOption('--disk', text, 'a target (vda) comes first');
  // The daemon says which words it takes.
  return { target, ...choice };
}

const addList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the snapshots')
    .description(methodSummary('snapshot.list'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (domain: string) => {
      const result = await listOf(cli, domain);
      cli.out.result(result, () =>
        result.snapshots.length === 0
          ? 'There are none.\n'
          : cli.out.table(result.snapshots, [
              { title: '', value: ({ current }) => (current ? '*' : '') },
              { title: 'NAME', value: ({ name }) => name },
              { title: 'MADE', value: ({ createdAt }) => createdAt },
              { title: 'STATE', value: ({ state }) => state },
              { title: 'KEPT', value: ({ location }) => location },
              { title: 'PARENT', value: ({ parent: before }) => before ?? '' },
              { title: 'DESCRIPTION', value: ({ description }) => description ?? '', shrinks: true },
            ]),
      );
    });
};

function listOf(cli: Cli, domain: string): Promise<Result<'snapshot.list'>> {
  return withDomain(cli, domain, (client, ref) => client.call('snapshot.list', { domain: ref }));
}

const addTree: AddCommand = (parent, cli) => {
  parent
    .command('tree')
    .summary('show which snapshot came from which')
    .description('Shows the snapshots as a tree; * marks the one that the present state comes from.')
    .argument('<domain>', DOMAIN_HELP)
    .action(async (domain: string) => {
      const result = await listOf(cli, domain);
      cli.out.result(result, () => treeText(result.snapshots));
    });
};

/** Lines with the usual branches. */
export function treeText(snapshots: readonly Snapshot[]): string {
  const byName = new Map(snapshots.map((one) => [one.name, one]));
  const lines: string[] = [];
  const add = (one: Snapshot, first: string, rest: string): void => {
    lines.push(`${first}${one.name}${one.current ? ' *' : ''}  (${one.state})`);
    const children = one.children.flatMap((name) => byName.get(name) ?? []);
    for (const [index, child] of children.entries()) {
      const isLast = index === children.length - 1;
      add(child, `${rest}${isLast ? '└─ ' : '├─ '}`, `${rest}${isLast ? '   ' : '│  '}`);
    }
  };
  for (const root of snapshots.filter(({ parent }) => parent === null)) add(root, '', '');
  return safeLines(lines.length === 0 ? 'There are none.\n' : `${lines.join('\n')}\n`);
}

const addInfo: AddCommand = (parent, cli) => {
  parent
    .command('info')
    .alias('show')
    .summary('show one snapshot')
    .description(methodSummary('snapshot.get'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<snapshot>', SNAPSHOT_HELP)
    .action(async (domain: string, snapshot: string) => {
      const one = await withDomain(cli, domain, (client, ref) =>
        client.call('snapshot.get', { domain: ref, snapshot }),
      );
      cli.out.result(one, () => infoText(one));
    });
};

function infoText(one: Snapshot): string {
  const rows: readonly (readonly [string, string])[] = [
    ['Name', one.name],
    ['Description', one.description ?? ''],
    ['Made', one.createdAt],
    ['State', one.state],
    ['Memory', one.memoryPath ?? one.memory],
    ['Parent', one.parent ?? ''],
    ['Children', one.children.join(', ')],
    ['Current', one.current ? 'yes' : 'no'],
    ...one.disks.map(({ target, location, path }) => [`Disk ${target}`, path ?? location] as const),
  ];
  return safeLines(`${rows.map(([key, value]) => `${`${key}:`.padEnd(14)}${value}`.trimEnd()).join('\n')}\n`);
}

const addXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print a snapshot')
    .description(methodSummary('snapshot.xml'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<snapshot>', SNAPSHOT_HELP)
    .action(async (domain: string, snapshot: string) => {
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('snapshot.xml', { domain: ref, snapshot }),
      );
      cli.out.result(result, () => safeLines(result.xml));
    });
};

interface RevertOptions {
  readonly state?: 'running' | 'paused';
  readonly resetNvram?: boolean;
  readonly force?: boolean;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

const addRevert: AddCommand = (parent, cli) => {
  parent
    .command('revert')
    .summary('return to a snapshot')
    .description(`${methodSummary('snapshot.revert')} What its disks hold that is in no snapshot is lost.`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<snapshot>', SNAPSHOT_HELP)
    .addOption(
      new Option('--state <state>', paramHelp('snapshot.revert', 'state')).choices(['running', 'paused']),
    )
    .option('--reset-nvram', paramHelp('snapshot.revert', 'resetNvram'))
    .option('--force', paramHelp('snapshot.revert', 'force'))
    .option('-y, --yes', 'Do not ask.')
    .option('-n, --dry-run', DRY_RUN_HELP)
    .action(async (domain: string, snapshot: string, given: RevertOptions) => {
      const { yes = false, dryRun = false, ...options } = given;
      if (dryRun) return showPlan(cli, domain, { revert: { snapshot, ...options } });
      await confirm(cli, `Return '${domain}' to '${snapshot}', and lose what came after?`, yes);
      await withDomain(cli, domain, (client, ref) =>
        client.call('snapshot.revert', { domain: ref, snapshot, ...options }),
      );
      cli.out.result({ domain, snapshot }, () => `'${domain}' is as it was in '${snapshot}'.\n`);
    });
};

interface DeleteOptions {
  readonly children?: boolean;
  readonly childrenOnly?: boolean;
  readonly metadataOnly?: boolean;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

const addDelete: AddCommand = (parent, cli) => {
  parent
    .command('delete')
    .alias('rm')
    .summary('delete snapshots')
    .description(methodSummary('snapshot.delete'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<snapshot>', SNAPSHOT_HELP)
    .option('--children', 'It and all below it.')
    .option('--children-only', 'Only all below it.')
    .option('--metadata-only', paramHelp('snapshot.delete', 'metadataOnly'))
    .option('-y, --yes', 'Do not ask.')
    .option('-n, --dry-run', DRY_RUN_HELP)
    .action(async (domain: string, snapshot: string, options: DeleteOptions) => {
      const { children = false, childrenOnly = false, metadataOnly = false, yes = false } = options;
      if (children && childrenOnly) throw badOption('--children-only', '', 'does not go with --children');
      const scope = children ? 'with-children' : childrenOnly ? 'children-only' : 'one';
      if (options.dryRun === true)
        return showPlan(cli, domain, { delete: { snapshot, scope, metadataOnly } });
      await confirm(cli, `Delete snapshot '${snapshot}' of '${domain}'?`, yes);
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('snapshot.delete', { domain: ref, snapshot, scope, metadataOnly }),
      );
      cli.out.result(result, () => result.deleted.map((name) => `Snapshot '${name}' is gone.\n`).join(''));
    });
};

const addDefine: AddCommand = (parent, cli) => {
  parent
    .command('define')
    .summary('remember a snapshot from its document')
    .description(methodSummary('snapshot.define'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<file>', 'File with domainsnapshot XML; - is standard input.')
    .option('--current', paramHelp('snapshot.define', 'current'))
    .action(async (domain: string, file: string, { current = false }: { readonly current?: boolean }) => {
      const xml = await readDocument(cli, file);
      const one = await withDomain(cli, domain, (client, ref) =>
        client.call('snapshot.define', { domain: ref, xml, current }),
      );
      cli.out.result(one, () => `Snapshot '${one.name}' is known.\n`);
    });
};
