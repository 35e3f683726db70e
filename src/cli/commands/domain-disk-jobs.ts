/** `domain disk jobs|pull|commit|copy|job-speed|pivot|cancel`: jobs on the images of a running guest. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { VireoClient } from '../../api/client.ts';
import type { DomainRef } from '../../api/domain-objects.ts';
import type { ParamsInput, Result } from '../../api/index.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { ProgressLine } from '../format/progress.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

const DISK_HELP = 'Target (vda), alias, or path of the image.';
const POLL_MS = 300;

interface JobOptions {
  readonly speed?: string;
  readonly wait?: boolean;
}

/** The verbs below `domain disk`. */
export const addDiskJobs: AddCommand = (parent, cli) => {
  addJobs(parent, cli);
  addPull(parent, cli);
  addCommit(parent, cli);
  addCopy(parent, cli);
  addSpeed(parent, cli);
  addEnd(parent, cli, 'pivot');
  addEnd(parent, cli, 'cancel');
};

/** A verb on one disk of a domain. */
const diskVerb = (parent: Command, verb: string): Command =>
  parent.command(verb).argument('<domain>', DOMAIN_HELP).argument('<disk>', DISK_HELP);

const addJobs: AddCommand = (parent, cli) => {
  parent
    .command('jobs')
    .summary('list the jobs on images of a guest')
    .description(methodSummary('domain.disk.jobs'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.disk.jobs', { domain }),
      );
      cli.out.result(result, () =>
        result.jobs.length === 0
          ? 'Nothing goes on.\n'
          : cli.out.table(result.jobs, [
              { title: 'DISK', value: ({ disk }) => disk },
              { title: 'JOB', value: ({ kind }) => kind },
              { title: 'DONE', value: doneText },
              { title: 'STATE', value: stateText },
              { title: 'TO', value: ({ destination }) => destination ?? '', shrinks: true },
            ]),
      );
    });
};

type Job = Result<'domain.disk.jobs'>['jobs'][number];

const doneText = ({ doneBytes, totalBytes }: Job): string =>
  `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;

function stateText({ ending, paused, ready }: Job): string {
  if (ending !== null) return ending === 'pivot' ? 'switching' : 'ending';
  return paused ? 'paused by an error' : ready ? 'ready' : 'working';
}

interface PullOptions extends JobOptions {
  readonly base?: string;
  readonly relative?: boolean;
}

const addPull: AddCommand = (parent, cli) => {
  diskVerb(parent, 'pull')
    .summary('pull the data of the images below into the topmost one')
    .description(methodSummary('domain.disk.pull'))
    .option('--base <image>', paramHelp('domain.disk.pull', 'base'))
    .option('--relative', paramHelp('domain.disk.pull', 'relative'))
    .option('--speed <size>', 'The most bytes a second, like 50MiB.')
    .option('--wait', 'Wait for the end, and show how far it is.')
    .action(async (name: string, disk: string, options: PullOptions) => {
      const { base, relative } = options;
      await runJob(cli, name, disk, options, (client, domain) =>
        client.call('domain.disk.pull', {
          ...{ domain, disk, bytesPerSecond: speedOf(options) },
          ...(base !== undefined && { base }),
          ...(relative !== undefined && { relative }),
        }),
      );
    });
};

interface SwitchOptions extends JobOptions {
  readonly pivot?: boolean;
}

interface CommitOptions extends SwitchOptions {
  readonly top?: string;
  readonly base?: string;
  readonly shallow?: boolean;
  readonly delete?: boolean;
  readonly relative?: boolean;
}

const addCommit: AddCommand = (parent, cli) => {
  diskVerb(parent, 'commit')
    .summary('merge images down into one below')
    .description(methodSummary('domain.disk.commit'))
    .option('--top <image>', paramHelp('domain.disk.commit', 'top'))
    .option('--base <image>', paramHelp('domain.disk.commit', 'base'))
    .option('--shallow', paramHelp('domain.disk.commit', 'shallow'))
    .option('--delete', paramHelp('domain.disk.commit', 'delete'))
    .option('--relative', paramHelp('domain.disk.commit', 'relative'))
    .option('--speed <size>', 'The most bytes a second, like 50MiB.')
    .option('--wait', 'Wait until it is ready, or has ended.')
    .option('--pivot', 'Wait, and switch the disk to the image that was merged into.')
    .action(async (name: string, disk: string, options: CommitOptions) => {
      const { wait: _wait, pivot: _pivot, speed: _speed, ...rest } = options;
      await runJob(cli, name, disk, options, (client, domain) =>
        client.call('domain.disk.commit', { ...rest, domain, disk, bytesPerSecond: speedOf(options) }),
      );
    });
};

interface CopyOptions extends SwitchOptions {
  readonly device?: boolean;
  readonly nbd?: boolean;
  readonly format?: string;
  readonly shallow?: boolean;
  readonly reuse?: boolean;
  readonly synchronous?: boolean;
  readonly granularity?: string;
  readonly buffer?: string;
}

const addCopy: AddCommand = (parent, cli) => {
  diskVerb(parent, 'copy')
    .summary('copy a disk elsewhere')
    .description(methodSummary('domain.disk.copy'))
    .argument('<destination>', 'A file; a block device; or with --nbd HOST[:PORT][/EXPORT], /SOCKET.')
    .option('--device', 'The destination is a block device.')
    .option('--nbd', 'The destination is an NBD server.')
    .option('--format <format>', paramHelp('domain.disk.copy', 'format'))
    .option('--shallow', paramHelp('domain.disk.copy', 'shallow'))
    .option('--reuse', paramHelp('domain.disk.copy', 'reuse'))
    .option('--synchronous', paramHelp('domain.disk.copy', 'synchronous'))
    .option('--granularity <size>', paramHelp('domain.disk.copy', 'granularityBytes'))
    .option('--buffer <size>', paramHelp('domain.disk.copy', 'bufferBytes'))
    .option('--speed <size>', 'The most bytes a second, like 50MiB.')
    .option('--wait', 'Wait until it is ready.')
    .option('--pivot', 'Wait, and switch the disk to the copy.')
    .action(async (name: string, disk: string, destination: string, options: CopyOptions) => {
      const wish = copyWish(destination, options);
      await runJob(cli, name, disk, options, (client, domain) =>
        client.call('domain.disk.copy', { ...wish, domain, disk }),
      );
    });
};

type CopyParams = ParamsInput<'domain.disk.copy'>;

function copyWish(destination: string, options: CopyOptions): Omit<CopyParams, 'domain' | 'disk'> {
  const { format, shallow, reuse, synchronous, granularity, buffer } = options;
  if (format !== undefined && format !== 'raw' && format !== 'qcow2')
    throw badOption('--format', format, 'it is neither raw nor qcow2');
  return {
    destination: destinationOf(destination, options),
    bytesPerSecond: speedOf(options),
    ...(format !== undefined && { format }),
    ...(shallow !== undefined && { shallow }),
    ...(reuse !== undefined && { reuse }),
    ...(synchronous !== undefined && { synchronous }),
    ...(granularity !== undefined && { granularityBytes: parseSize(granularity) }),
    ...(buffer !== undefined && { bufferBytes: parseSize(buffer) }),
  };
}

function destinationOf(text: string, { device, nbd }: CopyOptions): CopyParams['destination'] {
  if (device === true) return { device: text };
  if (nbd !== true) return { file: text };
  if (text.startsWith('/')) return { nbd: { socket: text } };
  const match = /^([^/:]+)(?::(\d{1,5}))?(?:\/(.*))?$/.exec(text);
  if (match === null) throw badOption('<destination>', text, 'it is no NBD server', 'write HOST:PORT/EXPORT');
  const [, host, port, name] = match;
  return {
    nbd: {
      ...(host !== undefined && { host }),
      ...(port !== undefined && { port: Number(port) }),
      ...(name !== undefined && { export: name }),
    },
  };
}

const addSpeed: AddCommand = (parent, cli) => {
  diskVerb(parent, 'job-speed')
    .summary('limit how fast the job of a disk goes')
    .description(methodSummary('domain.disk.set-job-speed'))
    .argument('<size>', 'Bytes a second, like 50MiB; 0: no limit.')
    .action(async (name: string, disk: string, size: string) => {
      const bytesPerSecond = parseSize(size);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.disk.set-job-speed', { domain, disk, bytesPerSecond }),
      );
      cli.out.result(
        { domain: name, disk, bytesPerSecond },
        () => `The job of ${disk} goes at that speed.\n`,
      );
    });
};

function addEnd(parent: Command, cli: Cli, verb: 'pivot' | 'cancel'): void {
  const isPivot = verb === 'pivot';
  diskVerb(parent, verb)
    .summary(
      isPivot ? 'switch a disk to its copy, or to what it was merged into' : 'call the job of a disk off',
    )
    .description(
      isPivot
        ? 'Switches a disk to its copy, or to the image that it was merged into, and ends the job.'
        : 'Ends the job of a disk. A copy that is ready stays as it is then; the guest goes on with its own image.',
    )
    .action(async (name: string, disk: string) => {
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.disk.end-job', { domain, disk, pivot: isPivot }),
      );
      const what = isPivot ? `${disk} of '${name}' has switched.` : `The job of ${disk} has ended.`;
      cli.out.result({ domain: name, disk, pivot: isPivot }, () => `${what}\n`);
    });
}

const speedOf = ({ speed }: JobOptions): number => (speed === undefined ? 0 : parseSize(speed));

/** Begins a job, and where it is wanted waits for it and switches. */
async function runJob(
  cli: Cli,
  name: string,
  disk: string,
  { wait = false, pivot = false }: SwitchOptions,
  begin: (client: VireoClient, domain: DomainRef) => Promise<{ disk: string; kind: Job['kind'] }>,
): Promise<void> {
  const said = await withDomain(cli, name, async (client, domain) => {
    const { disk: target, kind } = await begin(client, domain);
    const isSwitching = kind === 'copy' || kind === 'active-commit';
    if (!wait && !pivot) return { kind, text: `The ${kind} of ${target} has begun.` };
    await watching(cli, client, domain, target, () =>
      client.call('domain.disk.wait-job', { domain, disk: target, until: isSwitching ? 'ready' : 'end' }),
    );
    if (!isSwitching) return { kind, text: `The ${kind} of ${target} is done.` };
    if (!pivot) return { kind, text: `The ${kind} of ${target} is ready; end it with 'pivot' or 'cancel'.` };
    await client.call('domain.disk.end-job', { domain, disk: target, pivot: true });
    return { kind, text: `The ${kind} of ${target} is done, and the disk has switched.` };
  });
  cli.out.result({ domain: name, disk, kind: said.kind }, () => `${said.text}\n`);
}

/** Shows how far a job is while `work` waits for it. */
async function watching(
  cli: Cli,
  client: VireoClient,
  domain: DomainRef,
  disk: string,
  work: () => Promise<unknown>,
): Promise<void> {
  const progress = new ProgressLine(cli.world.stderr, cli.out.isJson);
  const state = { isOver: false };
  const ended = work().finally(() => {
    state.isOver = true;
  });
  try {
    while (cli.world.stderr.isTTY === true && !state.isOver) {
      const { jobs } = await client.call('domain.disk.jobs', { domain });
      const job = jobs.find((one) => one.disk === disk);
      if (job !== undefined) progress.tell(job.doneBytes, job.totalBytes);
      await Promise.race([ended, sleep(POLL_MS)]);
    }
    await ended;
  } finally {
    progress.end();
  }
}
