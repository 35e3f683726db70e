/** `domain record|bug-report`: what happened around a domain, and a bundle that explains a problem. */
import { writeFile } from 'node:fs/promises';
import type { Result } from '../../api/index.ts';
import { fileError } from '../../base/errors.ts';
import { type TarFile, tarGz } from '../../base/tar.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { safeLines } from '../format/table.ts';
import { parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

type Report = Result<'domain.report'>;
type Entry = Report['record'][number];

export const addRecord: AddCommand = (parent, cli) => {
  parent
    .command('record')
    .summary('show what happened around a domain lately')
    .description(methodSummary('domain.record'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--limit <number>', paramHelp('domain.record', 'limit'), '200')
    .action(async (name: string, options: { readonly limit: string }) => {
      const limit = parseCount('--limit', options.limit, { min: 1, max: 5000 });
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.record', { domain, limit }),
      );
      cli.out.result(result, () =>
        result.entries.length === 0 ? 'Nothing is recorded.\n' : safeLines(recordText(result.entries)),
      );
    });
};

/** One entry a line: time, kind, what, and with what. */
function recordText(entries: readonly Entry[]): string {
  return entries.map((entry) => `${entryText(entry)}\n`).join('');
}

function entryText({ at, kind, text, facts, times }: Entry): string {
  const pairs = Object.entries(facts).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const words = [at.replace('T', ' ').slice(0, 23), kind.padEnd(7), text, ...pairs];
  return `${words.join(' ')}${times > 1 ? ` (${times} times)` : ''}`;
}

export const addBugReport: AddCommand = (parent, cli) => {
  parent
    .command('bug-report')
    .summary('write what explains a problem to one file, without secrets')
    .description(
      `${methodSummary('domain.report')} Passwords and the like are left out; what a guest printed is not in it. Look through it before you send it.`,
    )
    .argument('<domain>', DOMAIN_HELP)
    .option(
      '-o, --output <file>',
      'Where to write it (default: NAME-TIME.tar.gz here; - is standard output).',
    )
    .action(async (name: string, options: { readonly output?: string }) => {
      const report = await withDomain(cli, name, (client, domain) =>
        client.call('domain.report', { domain }),
      );
      const bytes = tarGz(filesOf(report), Date.parse(report.takenAt));
      if (options.output === '-') {
        cli.out.write(bytes);
        return;
      }
      const file = cli.absolute(options.output ?? `${fileNameOf(report)}.tar.gz`);
      await writeFile(file, bytes, { mode: 0o600 }).catch((error: unknown) => {
        throw fileError(error, 'write the report', file);
      });
      const { missing } = report;
      cli.out.result(
        { file, bytes: bytes.length, missing },
        () =>
          `${file} (${bytes.length} bytes)\n${missing.map((one) => `Not in it: ${safeLines(one)}\n`).join('')}`,
      );
    });
};

function fileNameOf({ domain, takenAt }: Report): string {
  const time = takenAt.slice(0, 19).replaceAll(':', '');
  return `${domain.name.replace(/[^A-Za-z0-9_.+-]/g, '_').slice(0, 60)}-${time}`;
}

/** The bundle: each part as people read it, and all of it as JSON. */
function filesOf(report: Report): TarFile[] {
  const directory = fileNameOf(report);
  const files: Record<string, string> = {
    'README.txt': readme(report),
    'report.json': `${JSON.stringify(report, undefined, 2)}\n`,
    'record.txt': recordText(report.record),
    'qemu.log': report.log,
    'command-line.txt': `${report.argv.join('\n')}\n`,
    'host-check.txt': report.checks
      .map(
        ({ status, title, detail, repair }) =>
          `${status}: ${title}: ${detail}${repair ? ` (${repair})` : ''}\n`,
      )
      .join(''),
    ...(report.stored !== null && { 'stored.xml': report.stored }),
    ...(report.running !== null && { 'running.xml': report.running }),
  };
  for (const { name, xml } of report.networks)
    files[`network-${name.replace(/[^A-Za-z0-9_.+-]/g, '_').slice(0, 20)}.xml`] = xml;
  return Object.entries(files).map(([name, content]) => ({ name: `${directory}/${name}`, content }));
}

function readme({ domain, state, reason, takenAt, versions, missing }: Report): string {
  return `Report on domain '${domain.name}' (${domain.uuid}), ${takenAt}
State: ${state} (${reason})
Vireo ${versions.vireo}, Node ${versions.node}, Linux ${versions.kernel}, ${versions.emulator}

Secrets that Vireo knows of were left out and stand as (redacted). QEMU writes its log freely: look through it.
${missing.map((one) => `Not in it: ${one}\n`).join('')}`;
}
