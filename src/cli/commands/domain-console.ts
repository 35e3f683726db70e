/** `domain console`: the guest's serial console in this terminal. */
import type { VireoClient } from '../../api/client.ts';
import type { ParamsInput } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { attachConsole, type ConsoleEnd } from '../console/attach.ts';
import { DOMAIN_HELP, type DomainRef, stateSentence, withDomain } from '../domains.ts';
import { exitCodes } from '../exit-codes.ts';
import { withInterrupt } from '../interrupt.ts';
import { parseDuration } from '../options/duration.ts';
import type { AddCommand } from './command.ts';

interface ConsoleOptions {
  readonly device?: string;
  readonly force?: boolean;
  readonly linger?: string;
}

export const addConsole: AddCommand = (parent, cli) => {
  parent
    .command('console')
    .summary('attach to the serial console')
    .description(
      `${methodSummary('domain.console')} Leave it with Ctrl-]. Without a terminal, standard input goes to the guest as it is.`,
    )
    .argument('<domain>', DOMAIN_HELP)
    .option('--device <alias>', paramHelp('domain.console', 'console'))
    .option('--force', paramHelp('domain.console', 'force'))
    .option('--linger <time>', 'From a pipe: leave this long after its end (default: when the guest ends).')
    .action(async (name: string, options: ConsoleOptions) => {
      await attachTo(cli, name, options);
    });
};

/** Attaches to a running domain's console and stays until somebody leaves. */
export async function attachTo(cli: Cli, name: string, options: ConsoleOptions): Promise<ConsoleEnd> {
  const lingerMs = options.linger === undefined ? undefined : parseDuration('--linger', options.linger);
  // The console has a connection of its own; the first one is only needed to find it.
  const console = await withDomain(cli, name, (client, domain) => openConsole(client, domain, options));
  return runConsole(cli, console, { name, lingerMs });
}

/** A console's alias and its bytes. */
export type OpenConsole = Awaited<ReturnType<typeof openConsole>>;

export function openConsole(client: VireoClient, domain: DomainRef, options: ConsoleOptions) {
  const { device, force = false } = options;
  return client.upgrade('domain.console', {
    domain,
    force,
    ...(device !== undefined && { console: device }),
  });
}

/** Joins terminal and console, with a line before and after. */
export async function runConsole(
  cli: Cli,
  console: OpenConsole,
  options: {
    readonly name: string;
    readonly lingerMs?: number | undefined;
    readonly signal?: AbortSignal;
    /** What leaving does, for the first line: "Ctrl-] leaves it". Then the caller also tells the end. */
    readonly leaving?: string;
  },
): Promise<ConsoleEnd> {
  const { stdin, stdout } = cli.world;
  const where = `the console of '${options.name}' (${console.result.console})`;
  const isTerminal = stdin.isTTY === true;
  if (isTerminal)
    cli.out.note(
      `Connected to ${where}. ${options.leaving ?? 'Ctrl-] leaves it'}; Enter wakes a silent prompt.`,
    );
  const attach = (signal: AbortSignal) =>
    attachConsole({
      stream: console.stream,
      input: stdin,
      output: stdout,
      lingerMs: options.lingerMs,
      signal,
    });
  const end = await (options.signal ? attach(options.signal) : withInterrupt(attach));
  if (end === 'aborted') cli.exitCode ||= exitCodes.interrupted;
  if (isTerminal) cli.out.note(options.leaving === undefined ? `\n${endSentence(end, where)}` : '');
  return end;
}

function endSentence(end: ConsoleEnd, where: string): string {
  switch (end) {
    case 'closed':
      return `The guest's side of ${where} was closed: it stopped, or somebody else took the console.`;
    case 'left':
    case 'input-ended':
    case 'aborted':
      return `Left ${where}.`;
  }
}

/**
 * Starts a domain and shows its console from the first byte on: it is started with its CPUs stopped, and let go when
 * the console is attached.
 */
export async function startWithConsole(
  cli: Cli,
  client: VireoClient,
  params: ParamsInput<'domain.start'>,
): Promise<void> {
  const { domain } = params;
  const summary = await client.call('domain.start', { ...params, paused: true });
  cli.out.note(stateSentence({ ...summary, state: 'running' }));
  const console = await openConsole(client, domain, {});
  const attached = runConsole(cli, console, { name: summary.name });
  try {
    if (params.paused !== true) await client.call('domain.resume', { domain });
  } catch (error) {
    console.stream.destroy();
    await attached;
    throw error;
  }
  await attached;
}
