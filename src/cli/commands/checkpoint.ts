/** `checkpoint create|list|size|xml|delete`: moments since which it is known what was written to disks. */
import { formatBytes } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { safeLines } from '../format/table.ts';
import { badOption } from '../options/fields.ts';
import { confirm } from '../prompt.ts';
import type { AddCommand } from './command.ts';

const CHECKPOINT_HELP = 'Name of the checkpoint.';

export const addCheckpoint: AddCommand = (parent, cli) => {
  const checkpoint = parent
    .command('checkpoint')
    .summary('checkpoints of domains')
    .description('Makes checkpoints, since which it is known what was written, and deletes them.');
  for (const add of [addCreate, addList, addSize, addXml, addDelete]) add(checkpoint, cli);
};

interface CreateOptions {
  readonly description?: string;
  readonly disk?: readonly string[];
  readonly quiesce?: boolean;
}

export const collect = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
];

const addCreate: AddCommand = (parent, cli) => {
  parent
    .command('create')
    .summary('make a checkpoint')
    .description(methodSummary('checkpoint.create'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('[name]', paramHelp('checkpoint.create', 'name'))
    .option('--description <text>', 'What it is for.')
    .option('--disk <target>', 'Only that disk (vda). Can be repeated.', collect)
    .option('--quiesce', paramHelp('checkpoint.create', 'quiesce'))
    .action(async (domain: string, name: string | undefined, { disk, ...options }: CreateOptions) => {
      const made = await withDomain(cli, domain, (client, ref) =>
        client.call('checkpoint.create', {
          domain: ref,
          ...options,
          ...(name !== undefined && { name }),
          ...(disk !== undefined && { disks: [...disk] }),
        }),
      );
      cli.out.result(made, () => `Checkpoint '${made.name}' is made.\n`);
    });
};

const addList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the checkpoints')
    .description(methodSummary('checkpoint.list'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (domain: string) => {
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('checkpoint.list', { domain: ref }),
      );
      cli.out.result(result, () =>
        result.checkpoints.length === 0
          ? 'There are none.\n'
          : cli.out.table(result.checkpoints, [
              { title: '', value: ({ current }) => (current ? '*' : '') },
              { title: 'NAME', value: ({ name }) => name },
              { title: 'MADE', value: ({ createdAt }) => createdAt },
              { title: 'PARENT', value: ({ parent: before }) => before ?? '' },
              {
                title: 'DISKS',
                value: ({ disks }) => disks.flatMap(({ target, noted }) => (noted ? [target] : [])).join(' '),
              },
              { title: 'DESCRIPTION', value: ({ description }) => description ?? '', shrinks: true },
            ]),
      );
    });
};

const addSize: AddCommand = (parent, cli) => {
  parent
    .command('size')
    .summary('tell how much was written since')
    .description(methodSummary('checkpoint.sizes'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<checkpoint>', CHECKPOINT_HELP)
    .action(async (domain: string, checkpoint: string) => {
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('checkpoint.sizes', { domain: ref, checkpoint }),
      );
      const rows = Object.entries(result.disks);
      cli.out.result(result, () =>
        rows.length === 0
          ? 'It is not known.\n'
          : cli.out.table(rows, [
              { title: 'DISK', value: ([target]) => target },
              { title: 'WRITTEN', value: ([, bytes]) => formatBytes(bytes) },
            ]),
      );
    });
};

const addXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print a checkpoint')
    .description(methodSummary('checkpoint.xml'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<checkpoint>', CHECKPOINT_HELP)
    .action(async (domain: string, checkpoint: string) => {
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('checkpoint.xml', { domain: ref, checkpoint }),
      );
      cli.out.result(result, () => safeLines(result.xml));
    });
};

interface DeleteOptions {
  readonly children?: boolean;
  readonly childrenOnly?: boolean;
  readonly metadataOnly?: boolean;
  readonly yes?: boolean;
}

const addDelete: AddCommand = (parent, cli) => {
  parent
    .command('delete')
    .alias('rm')
    .summary('delete checkpoints')
    .description(methodSummary('checkpoint.delete'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<checkpoint>', CHECKPOINT_HELP)
    .option('--children', 'It and all below it.')
    .option('--children-only', 'Only all below it.')
    .option('--metadata-only', paramHelp('checkpoint.delete', 'metadataOnly'))
    .option('-y, --yes', 'Do not ask.')
    .action(async (domain: string, checkpoint: string, options: DeleteOptions) => {
      const { children = false, childrenOnly = false, metadataOnly = false, yes = false } = options;
      if (children && childrenOnly) throw badOption('--children-only', '', 'does not go with --children');
      const scope = children ? 'with-children' : childrenOnly ? 'children-only' : 'one';
      await confirm(cli, `Delete checkpoint '${checkpoint}' of '${domain}'?`, yes);
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('checkpoint.delete', { domain: ref, checkpoint, scope, metadataOnly }),
      );
      cli.out.result(result, () => result.deleted.map((name) => `Checkpoint '${name}' is gone.\n`).join(''));
    });
};
