/** `domain exec|guest ...`: what the guest agent does for us. */
import { readFile, writeFile } from 'node:fs/promises';
import type { Result } from '../../api/index.ts';
import { fileError, oneLine } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { parseDuration } from '../options/duration.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

/** Our own patience ends after the daemon's, which has more to say. */
const GRACE_MS = 10_000;

interface ExecOptions {
  readonly timeout: string;
  readonly stdin?: boolean;
}

export const addExec: AddCommand = (parent, cli) => {
  parent
    .command('exec')
    .summary('run a program inside a guest')
    .description(
      `${methodSummary('domain.guest.exec')} Its output and exit status become ours. Needs qemu-guest-agent in the guest.`,
    )
    .argument('<domain>', DOMAIN_HELP)
    .argument('<command...>', 'The program and its arguments, behind --.')
    .option('--timeout <time>', 'How long to wait for its end.', '1m')
    .option('--stdin', 'Give it our standard input.')
    .action((name: string, command: string[], options: ExecOptions) => execute(cli, name, command, options));
};

async function execute(
  cli: Cli,
  name: string,
  command: readonly string[],
  options: ExecOptions,
): Promise<void> {
  const [path = '', ...args] = command;
  const timeoutMs = Math.max(1, parseDuration('--timeout', options.timeout));
  const inputBase64 = options.stdin === true ? (await wholeInput(cli)).toString('base64') : undefined;
  const result = await withDomain(cli, name, (client, domain) =>
    client.call(
      'domain.guest.exec',
      { domain, path, args, timeoutMs, ...(inputBase64 !== undefined && { inputBase64 }) },
      { timeoutMs: timeoutMs + GRACE_MS },
    ),
  );
  if (cli.out.isJson) cli.out.result(result, () => '');
  else {
    cli.out.write(Buffer.from(result.stdoutBase64, 'base64'));
    cli.world.stderr.write(Buffer.from(result.stderrBase64, 'base64'));
    if (result.truncated) cli.out.warn('the guest agent kept only the first 16 MiB of its output');
  }
  // As a shell shows it for a signal.
  cli.exitCode = result.exitCode ?? 128 + (result.signal ?? 0);
}

async function wholeInput(cli: Cli): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of cli.world.stdin) pieces.push(Buffer.from(piece as Buffer));
  return Buffer.concat(pieces);
}

/** `domain guest info|ping|freeze|...`. */
export const addGuest: AddCommand = (parent, cli) => {
  const guest = parent
    .command('guest')
    .summary('ask the guest agent, or have it do something')
    .description('Needs qemu-guest-agent in the guest, and a channel for it in the definition.');
  addInfo(guest, cli);
  addPing(guest, cli);
  addFreeze(guest, cli);
  addTime(guest, cli);
  addFiles(guest, cli);
  addPassword(guest, cli);
  addSshKeys(guest, cli);
  addSleep(guest, cli);
  addAgentCommand(guest, cli);
};

const addInfo: AddCommand = (parent, cli) => {
  parent
    .command('info')
    .summary('show what the guest tells of itself')
    .description(methodSummary('domain.guest.info'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const info = await withDomain(cli, name, (client, domain) =>
        client.call('domain.guest.info', { domain }, { timeoutMs: 120_000 }),
      );
      cli.out.result(info, () => infoText(cli, info));
    });
};

type Info = Result<'domain.guest.info'>;

function infoText(cli: Cli, info: Info): string {
  const { os, timezone } = info;
  const system = [os?.prettyName ?? os?.name, os?.kernelRelease, os?.machine].filter(Boolean).join(', ');
  const lines = [
    ['Name', info.hostname],
    ['System', system],
    [
      'Time zone',
      timezone === null ? null : `${timezone.name ?? ''} (UTC${offsetText(timezone.offsetSeconds)})`,
    ],
    ['Users', info.users?.map(({ name }) => name).join(', ') || 'none'],
    ...(info.filesystems ?? []).map((one) => ['File system', fileSystemText(one)]),
    ...(info.interfaces ?? []).map((one) => ['Interface', interfaceText(one)]),
    ...info.missing.map(({ what, reason }) => ['Not told', `${what}: ${reason}`]),
  ] as [string, string | null][];
  return cli.out.facts(lines.flatMap(([title, value]) => (value ? [[title, oneLine(value)] as const] : [])));
}

function offsetText(seconds: number): string {
  const sign = seconds < 0 ? '-' : '+';
  const minutes = Math.abs(seconds) / 60;
  return `${sign}${Math.floor(minutes / 60)}:${String(Math.floor(minutes % 60)).padStart(2, '0')}`;
}

function fileSystemText(one: NonNullable<Info['filesystems']>[number]): string {
  const use =
    one.usedBytes === null || one.totalBytes === null
      ? ''
      : `, ${formatBytes(one.usedBytes)} of ${formatBytes(one.totalBytes)}`;
  return `${one.mountpoint} (${one.type} on ${one.name}${use})`;
}

function interfaceText({ name, mac, addresses }: NonNullable<Info['interfaces']>[number]): string {
  return [name, mac ?? '', ...addresses.map(({ address, prefix }) => `${address}/${prefix}`)].join(' ');
}

const addPing: AddCommand = (parent, cli) => {
  parent
    .command('ping')
    .summary('see whether the guest agent answers')
    .description(methodSummary('domain.guest.ping'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.guest.ping', { domain }),
      );
      cli.out.result(
        result,
        () => `The guest agent of '${name}' answers (${result.roundTripMs.toFixed(0)} ms).\n`,
      );
    });
};

const addFreeze: AddCommand = (parent, cli) => {
  for (const verb of ['freeze', 'thaw'] as const)
    parent
      .command(verb)
      .summary(verb === 'freeze' ? 'stop writes to the file systems' : 'let writes go on')
      .description(methodSummary(`domain.guest.${verb}`))
      .argument('<domain>', DOMAIN_HELP)
      .action(async (name: string) => {
        const result = await withDomain(cli, name, (client, domain) =>
          client.call(`domain.guest.${verb}`, { domain }, { timeoutMs: 90_000 }),
        );
        const what = verb === 'freeze' ? 'stand still' : 'go on';
        cli.out.result(result, () => `${result.filesystems} file systems ${what}.\n`);
      });
  parent
    .command('trim')
    .summary('give unused blocks back')
    .description(methodSummary('domain.guest.trim'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.guest.trim', { domain }, { timeoutMs: 90_000 }),
      );
      cli.out.result({ domain: name }, () => 'Unused blocks were given back.\n');
    });
};

const addTime: AddCommand = (parent, cli) => {
  parent
    .command('time')
    .summary("show the guest's clock, or set it")
    .description(methodSummary('domain.guest.get-time'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--set <time>', 'now, or a time like 2026-01-31T12:00:00Z.')
    .action(async (name: string, { set }: { readonly set?: string }) => {
      const wanted = set === 'now' ? new Date() : new Date(set ?? 0);
      if (Number.isNaN(wanted.getTime())) throw badOption('--set', set ?? '', 'it is no time');
      const { time } = await withDomain(cli, name, async (client, domain) => {
        if (set !== undefined)
          await client.call('domain.guest.set-time', { domain, time: wanted.toISOString() });
        return client.call('domain.guest.get-time', { domain });
      });
      cli.out.result({ domain: name, time }, () => `${time}\n`);
    });
};

const addFiles: AddCommand = (parent, cli) => {
  parent
    .command('read-file')
    .summary('copy a file out of the guest')
    .description(`${methodSummary('domain.guest.read-file')} To standard output, or to a file here.`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<path>', 'Inside the guest.')
    .argument('[file]', 'Here.')
    .action(async (name: string, path: string, file: string | undefined) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call(
          'domain.guest.read-file',
          { domain, path, maxBytes: 8 * 1024 * 1024 },
          { timeoutMs: 120_000 },
        ),
      );
      const bytes = Buffer.from(result.base64, 'base64');
      if (file !== undefined)
        await writeFile(file, bytes).catch((error: unknown) => {
          throw fileError(error, 'write a file', file);
        });
      if (cli.out.isJson) cli.out.result(result, () => '');
      else if (file === undefined) cli.out.write(bytes);
    });
  parent
    .command('write-file')
    .summary('copy a file into the guest')
    .description(methodSummary('domain.guest.write-file'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<file>', 'Here.')
    .argument('<path>', 'Inside the guest.')
    .option('--append', paramHelp('domain.guest.write-file', 'append'))
    .action(
      async (name: string, file: string, path: string, { append = false }: { readonly append?: boolean }) => {
        const bytes = await readFile(file).catch((error: unknown) => {
          throw fileError(error, 'read a file', file);
        });
        const result = await withDomain(cli, name, (client, domain) =>
          client.call(
            'domain.guest.write-file',
            { domain, path, base64: bytes.toString('base64'), append },
            { timeoutMs: 120_000 },
          ),
        );
        cli.out.result(result, () => `${formatBytes(result.bytes)} were written to ${path} of '${name}'.\n`);
      },
    );
};

const addPassword: AddCommand = (parent, cli) => {
  parent
    .command('set-password')
    .summary('set the password of a user of the guest')
    .description(`${methodSummary('domain.guest.set-password')} It is read from standard input.`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<user>', 'Inside the guest.')
    .option('--crypted', paramHelp('domain.guest.set-password', 'crypted'))
    .action(async (name: string, user: string, { crypted = false }: { readonly crypted?: boolean }) => {
      const password = (await wholeInput(cli)).toString('utf8').replace(/\r?\n$/, '');
      if (password === '') throw badOption('standard input', '', 'it is empty', 'write the password to it');
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.guest.set-password', { domain, user, password, crypted }),
      );
      cli.out.result({ domain: name, user }, () => `The password of ${user} is set.\n`);
    });
};

const addSshKeys: AddCommand = (parent, cli) => {
  parent
    .command('ssh-keys')
    .summary('show, add or remove keys that let somebody in')
    .description(methodSummary('domain.guest.ssh-keys'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<user>', 'Inside the guest.')
    .option('--add <file>', 'Add the keys of this file.')
    .option('--remove <file>', 'Remove the keys of this file.')
    .action(
      async (name: string, user: string, options: { readonly add?: string; readonly remove?: string }) => {
        const { add, remove } = options;
        if (add !== undefined && remove !== undefined)
          throw badOption('--remove', remove, '--add is given too');
        const file = add ?? remove;
        const change = file === undefined ? undefined : await keysOf(file);
        const result = await withDomain(cli, name, async (client, domain) => {
          if (change === undefined) return client.call('domain.guest.ssh-keys', { domain, user });
          const how = add === undefined ? ('remove' as const) : ('append' as const);
          await client.call('domain.guest.set-ssh-keys', { domain, user, keys: change, how });
          return client.call('domain.guest.ssh-keys', { domain, user });
        });
        cli.out.result(result, () => result.keys.map((key) => `${oneLine(key)}\n`).join(''));
      },
    );
};

async function keysOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw fileError(error, 'read keys', file);
  });
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

const addSleep: AddCommand = (parent, cli) => {
  parent
    .command('suspend')
    .summary('have the guest go to sleep')
    .description(methodSummary('domain.guest.suspend'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--disk', 'On its disk, and power off.')
    .action(async (name: string, { disk = false }: { readonly disk?: boolean }) => {
      const mode = disk ? ('disk' as const) : ('ram' as const);
      await withDomain(cli, name, (client, domain) => client.call('domain.guest.suspend', { domain, mode }));
      cli.out.result({ domain: name, mode }, () => `Domain '${name}' goes to sleep.\n`);
    });
  parent
    .command('wake-up')
    .summary('wake a guest that sleeps')
    .description(methodSummary('domain.wake-up'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      await withDomain(cli, name, (client, domain) => client.call('domain.wake-up', { domain }));
      cli.out.result({ domain: name }, () => `Domain '${name}' wakes up.\n`);
    });
};

const addAgentCommand: AddCommand = (parent, cli) => {
  parent
    .command('command')
    .summary('send the guest agent a command as it is')
    .description(methodSummary('domain.guest.command'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<command>', 'Like guest-info.')
    .argument('[arguments]', 'A JSON object.')
    .option('--timeout <time>', paramHelp('domain.guest.command', 'timeoutMs'), '5s')
    .action(
      async (
        name: string,
        command: string,
        text: string | undefined,
        options: { readonly timeout: string },
      ) => {
        const timeoutMs = Math.max(1, parseDuration('--timeout', options.timeout));
        const args = text === undefined ? undefined : objectOf(text);
        const result = await withDomain(cli, name, (client, domain) =>
          client.call(
            'domain.guest.command',
            { domain, command, timeoutMs, ...(args && { arguments: args }) },
            { timeoutMs: timeoutMs + GRACE_MS },
          ),
        );
        cli.out.result(result, () => `${JSON.stringify(result.return, undefined, 2)}\n`);
      },
    );
};

function objectOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw badOption('[arguments]', text, 'it is no JSON object');
}
