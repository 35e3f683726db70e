/** `backup create|list|verify|restore|delete|cancel|plan`: backups of domains in directories. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { exitCodes } from '../exit-codes.ts';
import { confirm } from '../prompt.ts';
import { addBackupPlan } from './backup-plan.ts';
import { collect } from './checkpoint.ts';
import type { AddCommand } from './command.ts';

const BACKUP_HELP = 'Directory of the backup: DIR/DOMAIN/ID.';

export const addBackup: AddCommand = (parent, cli) => {
  const backup = parent
    .command('backup')
    .summary('backups of domains')
    .description('Makes backups of domains in directories, checks them, and makes domains of them.');
  for (const add of [addCreate, addList, addVerify, addRestore, addDelete, addCancel, addBackupPlan])
    add(backup, cli);
};

interface CreateOptions {
  readonly dir: string;
  readonly mode?: 'auto' | 'full' | 'incremental';
  readonly disk?: readonly string[];
  readonly quiesce?: boolean;
  readonly compress?: boolean;
  readonly speed?: string;
}

type Backup = Result<'backup.list'>['backups'][number];

const addCreate: AddCommand = (parent, cli) => {
  parent
    .command('create')
    .summary('back a domain up')
    .description(methodSummary('backup.create'))
    .argument('<domain>', DOMAIN_HELP)
    .requiredOption('--dir <directory>', paramHelp('backup.create', 'directory'))
    .addOption(
      new Option('--mode <mode>', paramHelp('backup.create', 'mode')).choices([
        'auto',
        'full',
        'incremental',
      ]),
    )
    .option('--disk <target>', 'Only that disk (vda). Can be repeated.', collect)
    .option('--quiesce', paramHelp('backup.create', 'quiesce'))
    .option('--compress', paramHelp('backup.create', 'compressed'))
    .option('--speed <size>', 'The most bytes a second of each disk, like 50MiB.')
    .action(async (domain: string, options: CreateOptions) => {
      const { dir, mode, disk, quiesce = false, compress = false, speed } = options;
      const made = await withDomain(cli, domain, (client, ref) =>
        client.call('backup.create', {
          ...{ domain: ref, directory: cli.absolute(dir), quiesce, compressed: compress },
          ...(mode !== undefined && { mode }),
          ...(disk !== undefined && { disks: [...disk] }),
          ...(speed !== undefined && { bytesPerSecond: parseSize(speed) }),
        }),
      );
      if (made.whyFull !== null && mode !== 'full') cli.out.note(`Everything is taken: ${made.whyFull}.`);
      cli.out.result(made, () => `${made.path}  (${made.kind}, ${formatBytes(made.bytes)})\n`);
    });
};

interface ListOptions {
  readonly dir: string;
}

const addList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the backups in a directory')
    .description(methodSummary('backup.list'))
    .argument('[domain]', 'Only those of that name or uuid.')
    .requiredOption('--dir <directory>', paramHelp('backup.list', 'directory'))
    .action(async (domain: string | undefined, { dir }: ListOptions) => {
      const result = await cli.withClient((client) =>
        client.call('backup.list', {
          directory: cli.absolute(dir),
          ...(domain !== undefined && { domain }),
        }),
      );
      for (const { path, reason } of result.broken) cli.out.note(`${path}: ${reason}`);
      cli.out.result(result, () =>
        result.backups.length === 0
          ? 'There are none.\n'
          : cli.out.table(result.backups, [
              { title: 'DOMAIN', value: ({ domain: { name } }) => name },
              { title: 'ID', value: ({ id }) => id },
              { title: 'KIND', value: ({ kind }) => kind },
              { title: 'SIZE', value: ({ bytes }) => formatBytes(bytes) },
              { title: 'DISKS', value: disksText },
              { title: 'GUEST', value: ({ guest }) => guest },
              { title: 'LIES ON', value: ({ parent: below }) => below ?? '' },
              { title: 'PLAN', value: ({ plan }) => plan ?? '' },
            ]),
      );
    });
};

const disksText = ({ disks }: Backup): string => disks.map(({ target }) => target).join(' ');

const addVerify: AddCommand = (parent, cli) => {
  parent
    .command('verify')
    .summary('see whether a backup is as it was written')
    .description(methodSummary('backup.verify'))
    .argument('<backup>', BACKUP_HELP)
    .action(async (path: string) => {
      const result = await cli.withClient((client) =>
        client.call('backup.verify', { path: cli.absolute(path) }),
      );
      cli.out.result(result, () =>
        result.good
          ? 'It is good.\n'
          : result.findings.map((one) => `${one.path}: ${one.problem}\n`).join(''),
      );
      if (!result.good) cli.exitCode = exitCodes.failed;
    });
};

interface RestoreOptions {
  readonly name?: string;
  readonly to?: string;
  readonly over?: boolean;
  readonly unverified?: boolean;
  readonly yes?: boolean;
}

const addRestore: AddCommand = (parent, cli) => {
  parent
    .command('restore')
    .summary('make a domain of a backup')
    .description(methodSummary('backup.restore'))
    .argument('<backup>', BACKUP_HELP)
    .option('--name <name>', paramHelp('backup.restore', 'name'))
    .option('--to <directory>', paramHelp('backup.restore', 'directory'))
    .option('--over', paramHelp('backup.restore', 'over'))
    .option('--unverified', paramHelp('backup.restore', 'unverified'))
    .option('-y, --yes', 'Do not ask.')
    .action(async (path: string, options: RestoreOptions) => {
      const { name, to, over = false, unverified = false, yes = false } = options;
      if (over) await confirm(cli, 'Write over the disks of the domain that is there?', yes);
      const { domain } = await cli.withClient((client) =>
        client.call('backup.restore', {
          ...{ path: cli.absolute(path), over, unverified },
          ...(name !== undefined && { name }),
          ...(to !== undefined && { directory: cli.absolute(to) }),
        }),
      );
      cli.out.result({ domain }, () => `Domain '${domain.name}' is restored; it is off.\n`);
    });
};

interface DeleteOptions {
  readonly dependents?: boolean;
  readonly yes?: boolean;
}

const addDelete: AddCommand = (parent, cli) => {
  parent
    .command('delete')
    .alias('rm')
    .summary('delete a backup')
    .description(methodSummary('backup.delete'))
    .argument('<backup>', BACKUP_HELP)
    .option('--dependents', paramHelp('backup.delete', 'dependents'))
    .option('-y, --yes', 'Do not ask.')
    .action(async (path: string, { dependents = false, yes = false }: DeleteOptions) => {
      await confirm(cli, `Delete the backup ${path}?`, yes);
      const result = await cli.withClient((client) =>
        client.call('backup.delete', { path: cli.absolute(path), dependents }),
      );
      cli.out.result(result, () => result.deleted.map((one) => `${one} is gone.\n`).join(''));
    });
};

const addCancel: AddCommand = (parent, cli) => {
  parent
    .command('cancel')
    .summary('call the backup of a domain off')
    .description(methodSummary('backup.cancel'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (domain: string) => {
      const result = await withDomain(cli, domain, (client, ref) =>
        client.call('backup.cancel', { domain: ref }),
      );
      cli.out.result(result, () => `The backup of '${domain}' is over (${result.outcome}).\n`);
    });
};
