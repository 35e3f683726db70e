/** `adopt libvirt`: takes over what a libvirtd knew, and tells what became of each object. */
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Tone } from '../format/colour.ts';
import { counted } from '../format/wrap.ts';
import type { AddCommand } from './command.ts';

type Report = Result<'daemon.adopt-libvirt'>;
type AdoptedObject = Report['objects'][number];

/** Taking over many guests, with files to copy, takes its time. */
const TIMEOUT_MS = 600_000;

export const addAdopt: AddCommand = (parent, cli) => {
  parent
    .command('adopt')
    .summary('take over what another manager knew')
    .description('Takes over guests of other managers.')
    .command('libvirt')
    .summary('take over domains and networks of libvirtd')
    .description(methodSummary('daemon.adopt-libvirt'))
    .option('--from <dir>', paramHelp('daemon.adopt-libvirt', 'from'))
    .option('--dry-run', paramHelp('daemon.adopt-libvirt', 'dryRun'))
    .action(async ({ from, dryRun = false }: { readonly from?: string; readonly dryRun?: boolean }) => {
      const params = { dryRun, ...(from !== undefined && { from: cli.absolute(from) }) };
      const report = await cli.withClient((client) =>
        client.call('daemon.adopt-libvirt', params, { timeoutMs: TIMEOUT_MS }),
      );
      cli.out.result(report, () =>
        reportText(report, (objects) =>
          cli.out.table(objects, [
            { title: 'KIND', value: ({ kind }) => kind },
            { title: 'NAME', value: ({ name }) => name },
            {
              title: 'OUTCOME',
              value: ({ outcome }) => words[outcome],
              tone: ({ outcome }) => tones[outcome],
            },
            { title: 'DETAIL', value: ({ detail }) => detail ?? '' },
          ]),
        ),
      );
      if (report.objects.some(({ outcome }) => outcome === 'refused')) cli.exitCode = exitCodes.failed;
    });
};

const words: Readonly<Record<AdoptedObject['outcome'], string>> = {
  adopted: 'adopted',
  present: 'here already',
  kept: 'kept',
  refused: 'not adopted',
};

const tones: Readonly<Record<AdoptedObject['outcome'], Tone>> = {
  adopted: 'good',
  present: 'quiet',
  kept: 'plain',
  refused: 'bad',
};

function reportText(report: Report, table: (objects: readonly AdoptedObject[]) => string): string {
  const { objects, from, dryRun } = report;
  if (objects.length === 0) return `There is nothing of libvirt's in ${from}.\n`;
  const adopted = objects.filter(({ outcome }) => outcome === 'adopted').length;
  const refused = objects.filter(({ outcome }) => outcome === 'refused').length;
  const would = dryRun ? 'would be ' : '';
  return `${table(objects)}\n${counted(adopted, 'object')} ${would}taken over from ${from}, ${refused} not.\n`;
}
