/** `domain clone`, `template create|list|instance|release`. */
import type { VireoClient } from '../../api/client.ts';
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { type DomainRef, domainRefOf, forEachDomain, withDomain } from '../domains.ts';
import { forEachNamed } from '../for-each.ts';
import type { Column } from '../format/table.ts';
import type { AddCommand } from './command.ts';

interface CloneOptions {
  readonly linked?: boolean;
  readonly full?: boolean;
  readonly pool?: string;
  readonly start?: boolean;
  readonly keepTpm?: boolean;
}

const KEEP_TPM_HELP = "Copy the state of the source's TPM with all its keys; else the TPM starts empty.";

const DOMAIN_HELP = 'Name or uuid.';

export const addClone: AddCommand = (parent, cli) => {
  parent
    .command('clone')
    .summary('make a domain like another one')
    .description(methodSummary('domain.clone'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<name>', paramHelp('domain.clone', 'name'))
    .option('--linked', paramHelp('domain.clone', 'linked'))
    .option('--full', 'Copy the disks, also of a template.')
    .option('--pool <pool>', paramHelp('domain.clone', 'pool'))
    .option('--keep-tpm', KEEP_TPM_HELP)
    .option('--start', paramHelp('domain.clone', 'start'))
    .action(async (source: string, name: string, options: CloneOptions) => {
      const result = await withDomain(cli, source, (client, domain) =>
        clone(client, { domain, name, options }),
      );
      tell(cli, result);
    });
};

function clone(
  client: VireoClient,
  { domain, name, options }: { domain: DomainRef; name: string; options: CloneOptions },
): Promise<Result<'domain.clone'>> {
  const { linked = false, full = false, pool, start = false, keepTpm = false } = options;
  return client.call('domain.clone', {
    domain,
    name,
    start,
    ...(linked && { linked: true }),
    ...(full && { linked: false }),
    ...(pool !== undefined && { pool }),
    ...(keepTpm && { tpm: 'copy' }),
  });
}

function tell(cli: Cli, result: Result<'domain.clone'>): void {
  for (const warning of result.warnings) cli.out.warn(warning);
  cli.out.result(result, () => `${madeText(result)}\n`);
}

function madeText({ domain, linked, disks }: Result<'domain.clone'>): string {
  const where = disks.map(({ path }) => path).join(', ');
  const kind = linked ? 'linked clone' : 'clone';
  return `Domain '${domain.name}' is a ${kind}${domain.active ? ', and runs' : ''}${where === '' ? '' : `: ${where}`}.`;
}

type Template = Result<'template.list'>['templates'][number];

const columns: readonly Column<Template>[] = [
  { title: 'NAME', value: ({ domain }) => domain.name, shrinks: true },
  { title: 'LINKED CLONES', value: ({ instances }) => instances.join(', ') || '-', shrinks: true },
  { title: 'DISKS', value: ({ disks }) => disks.join(', '), shrinks: true },
];

export const addTemplate: AddCommand = (parent, cli) => {
  const template = parent
    .command('template')
    .summary('domains that are there to be cloned')
    .description('Makes templates of domains, and domains of templates.');
  template
    .command('create')
    .summary('make a domain a template')
    .description(
      `${methodSummary('template.set')} It does not start any more. Prepare the guest before (host name, machine id, SSH keys): virt-sysprep does that.`,
    )
    .argument('<domain...>', DOMAIN_HELP)
    .action((names: string[]) => set(cli, names, true));
  template
    .command('list')
    .alias('ls')
    .summary('list templates')
    .description(methodSummary('template.list'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('template.list', {}));
      cli.out.result(result, () =>
        result.templates.length === 0
          ? 'There are no templates.\n'
          : cli.out.table(result.templates, columns),
      );
    });
  template
    .command('instance')
    .summary('make domains of a template')
    .description(methodSummary('domain.clone'))
    .argument('<template>', DOMAIN_HELP)
    .argument('<name...>', 'Names of the new domains.')
    .option('--full', 'Copy the disks, which takes time and space, and needs the template no more.')
    .option('--pool <pool>', paramHelp('domain.clone', 'pool'))
    .option('--keep-tpm', KEEP_TPM_HELP)
    .option('--start', paramHelp('domain.clone', 'start'))
    .action((source: string, names: string[], options: CloneOptions) =>
      forEachNamed(cli, names, async (client, name) => {
        const domain = await domainRefOf(client, source);
        const linked = options.full !== true;
        const result = await clone(client, { domain, name, options: { ...options, linked } });
        for (const warning of result.warnings) cli.out.warn(warning);
        return { document: result, said: madeText(result) };
      }),
    );
  template
    .command('release')
    .summary('make a template a domain like others again')
    .description(methodSummary('template.set'))
    .argument('<template...>', DOMAIN_HELP)
    .action((names: string[]) => set(cli, names, false));
};

function set(cli: Cli, names: readonly string[], template: boolean): Promise<void> {
  return forEachDomain(cli, names, async (client, domain) => {
    const { name } = await client.call('template.set', { domain, template });
    const said = template ? `Domain '${name}' is a template.` : `Domain '${name}' is no template any more.`;
    return { document: { domain: name, template }, said };
  });
}
