/** `domain log|wait|job|command-line|qmp|screenshot|send-key`: looking into a domain, and touching its keyboard. */
import { writeFile } from 'node:fs/promises';
import { Option } from 'commander';
import type { VireoClient } from '../../api/client.ts';
import type { Result } from '../../api/index.ts';
import { fileError } from '../../base/errors.ts';
import { parseSize } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, type DomainRef, stateSentence, withDomain } from '../domains.ts';
import { safeLines } from '../format/table.ts';
import { parseDuration } from '../options/duration.ts';
import { badOption, parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

export const addLog: AddCommand = (parent, cli) => {
  parent
    .command('log')
    .summary("show the end of QEMU's log")
    .description(methodSummary('domain.log'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--max <size>', paramHelp('domain.log', 'maxBytes'), '64KiB')
    .option('--console', 'Show what the serial console printed.')
    .action(async (name: string, options: { readonly max: string; readonly console?: true }) => {
      const maxBytes = parseSize(options.max);
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.log', {
          domain,
          maxBytes,
          ...(options.console && { source: 'console' as const }),
        }),
      );
      cli.out.result(result, () =>
        result.text === '' ? '' : `${safeLines(result.text).replace(/\n$/, '')}\n`,
      );
    });
};

export const waitGoals = [
  'running',
  'paused',
  'shutoff',
  'crashed',
  'pmsuspended',
  'address',
  'agent',
  'ssh',
] as const;

export type WaitGoal = (typeof waitGoals)[number];

interface WaitOptions {
  readonly for: WaitGoal;
  readonly timeout: string;
}

export const addWait: AddCommand = (parent, cli) => {
  parent
    .command('wait')
    .summary('wait until a domain is in a state, has an address, or answers')
    .description(
      `${methodSummary('domain.wait')} --for address: the guest has an address. --for agent: its guest agent answers. --for ssh: its SSH server does.`,
    )
    .argument('<domain>', DOMAIN_HELP)
    .addOption(
      new Option('--for <state>', paramHelp('domain.wait', 'until')).choices(waitGoals).default('shutoff'),
    )
    .option('--timeout <time>', 'How long at most.', '1m')
    .action(async (name: string, options: WaitOptions) => {
      const timeoutMs = parseDuration('--timeout', options.timeout);
      const result = await withDomain(cli, name, (client, domain) =>
        waitFor(client, domain, options.for, timeoutMs),
      );
      cli.out.result(result, () => waitText(result, options.for));
    });
};

/** Waits; the client's own patience ends a little after the daemon's, which has more to say. */
export function waitFor(
  client: VireoClient,
  domain: DomainRef,
  until: WaitGoal,
  timeoutMs: number,
): Promise<Result<'domain.wait'>> {
  return client.call('domain.wait', { domain, until, timeoutMs });
}

/** What a wait came to, for people. */
export function waitText(result: Result<'domain.wait'>, goal: WaitGoal): string {
  const { name, reached } = result;
  if (goal === 'agent') return `The guest agent of '${name}' answers.\n`;
  if (reached === null) return `${stateSentence(result)}\n`;
  const { address, port } = reached;
  return port === null
    ? `Domain '${name}' has the address ${address}.\n`
    : `SSH of '${name}' answers at ${address} port ${port}.\n`;
}

export const addJob: AddCommand = (parent, cli) => {
  parent
    .command('job')
    .summary('show what is being done to a domain')
    .description(methodSummary('domain.job'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const result = await withDomain(cli, name, (client, domain) => client.call('domain.job', { domain }));
      const { job } = result;
      cli.out.result(result, () => (job === null ? 'No job.\n' : `${job.name}, since ${job.startedAt}\n`));
    });
};

export const addCommandLine: AddCommand = (parent, cli) => {
  parent
    .command('command-line')
    .summary('show the QEMU command line')
    .description(methodSummary('domain.command-line'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.command-line', { domain }),
      );
      cli.out.result(result, () => formatArgv(result.argv));
    });
};

/** One option a line, quoted for a shell. */
function formatArgv(argv: readonly string[]): string {
  const words = argv.map((word) =>
    /^[A-Za-z0-9_.:/=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    // A value goes on the line of its option.
    if (last === undefined || word.startsWith('-') || last.includes(' ')) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return `${safeLines(lines.join(' \\\n  '))}\n`;
}

export const addQmp: AddCommand = (parent, cli) => {
  parent
    .command('qmp')
    .summary("run a command of QEMU's monitor")
    .description(`${methodSummary('domain.monitor-command')} Example: vireo domain qmp web query-status`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<command>', paramHelp('domain.monitor-command', 'command'))
    .argument('[arguments]', 'Its arguments, as a JSON object.')
    .action(async (name: string, command: string, text: string | undefined) => {
      const args = text === undefined ? undefined : parseJsonObject('the arguments', text);
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.monitor-command', { domain, command, ...(args && { arguments: args }) }),
      );
      // Its result is JSON for people and programs alike.
      cli.out.result(result.return, () => `${JSON.stringify(result.return, undefined, 2)}\n`);
    });
};

/** @throws VirtError request.invalid */
export function parseJsonObject(what: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw badOption(what, text, `it is not JSON: ${error.message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw badOption(what, text, 'it is not a JSON object', `write it like '{"key": "value"}'`);
  return Object.fromEntries(Object.entries(value));
}

interface ScreenshotOptions {
  readonly screen: string;
}

export const addScreenshot: AddCommand = (parent, cli) => {
  parent
    .command('screenshot')
    .summary('take a picture of the screen')
    .description(methodSummary('domain.screenshot'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('[file]', 'Where to write it; - is standard output (default: NAME-TIME.png here).')
    .option('--screen <number>', paramHelp('domain.screenshot', 'screen'), '0')
    .action((name: string, file: string | undefined, options: ScreenshotOptions) =>
      screenshot(cli, name, { file, screen: parseCount('--screen', options.screen, { min: 0, max: 15 }) }),
    );
};

async function screenshot(
  cli: Cli,
  name: string,
  wish: { readonly file: string | undefined; readonly screen: number },
): Promise<void> {
  const { mime, base64 } = await withDomain(cli, name, (client, domain) =>
    client.call('domain.screenshot', { domain, screen: wish.screen }),
  );
  const bytes = Buffer.from(base64, 'base64');
  if (wish.file === '-') {
    cli.out.write(bytes);
    return;
  }
  const path = cli.absolute(wish.file ?? defaultFile(name, mime === 'image/png' ? 'png' : 'ppm'));
  await writeFile(path, bytes).catch((error: unknown) => {
    throw fileError(error, 'write the screenshot', path);
  });
  cli.out.result(
    { file: path, mime, bytes: bytes.length },
    () => `${path} (${mime}, ${bytes.length} bytes)\n`,
  );
}

function defaultFile(name: string, suffix: string): string {
  const time = new Date().toISOString().slice(0, 19).replaceAll(':', '');
  return `${name.replace(/[^A-Za-z0-9_.+-]/g, '_')}-${time}.${suffix}`;
}

interface SendKeyOptions {
  readonly codeset: 'qcode' | 'linux';
  readonly hold: string;
}

export const addSendKey: AddCommand = (parent, cli) => {
  parent
    .command('send-key')
    .summary('press keys of the keyboard together')
    .description(`${methodSummary('domain.send-key')} Example: vireo domain send-key web ctrl alt delete`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<key...>', paramHelp('domain.send-key', 'keys'))
    .addOption(
      new Option('--codeset <set>', 'What the keys are named by.')
        .choices(['qcode', 'linux'])
        .default('qcode'),
    )
    .option('--hold <time>', 'How long they are held down.', '100ms')
    .action(async (name: string, keys: string[], options: SendKeyOptions) => {
      const { codeset } = options;
      const holdMs = parseDuration('--hold', options.hold);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.send-key', { domain, keys: keysOf(keys, codeset), codeset, holdMs }),
      );
      cli.out.result({ domain: name, keys }, () => '');
    });
};

/** Also takes keys joined by a plus (`ctrl+alt+delete`). Numbers are Linux input codes. */
function keysOf(words: readonly string[], codeset: 'qcode' | 'linux'): (string | number)[] {
  const keys = words.flatMap((word) => word.split('+')).filter((key) => key !== '');
  return keys.map((key) => (codeset === 'linux' && /^\d+$/.test(key) ? Number(key) : key));
}
