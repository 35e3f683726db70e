/** What a person and a script are told when something fails, and how help reads. */
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { Cli } from '../../../src/cli/cli.ts';
import { buildProgram } from '../../../src/cli/program.ts';
import { cliRig } from './cli-rig.ts';
import { summary } from './fake-daemon.ts';
import { runCli } from './run-cli.ts';

const { daemon, vireo } = await cliRig();

describe('failures', () => {
  const notFound = () => {
    throw new VirtError('domain.not-found', {
      wanted: "show 'nix'",
      reason: 'no domain has that name',
      hint: "'vireo list' shows them",
    });
  };

  it('tell reason and repair, and exit with their code', async () => {
    daemon.answers = { 'domain.get': notFound };
    expect(await vireo('show', 'nix')).toEqual({
      code: 3,
      stdout: '',
      stderr: "error: cannot show 'nix': no domain has that name\nrepair: 'vireo list' shows them\n",
    });
  });

  it('are JSON on stderr with --json', async () => {
    daemon.answers = { 'domain.get': notFound };
    const { code, stdout, stderr } = await vireo('--json', 'show', 'nix');
    expect(code).toBe(3);
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({
      error: {
        code: 'domain.not-found',
        reason: 'no domain has that name',
        hint: "'vireo list' shows them",
        exitCode: 3,
      },
    });
  });

  it('of one domain do not keep the others from being done', async () => {
    daemon.answers = {
      'domain.start': ({ domain }: { domain: string }) => {
        if (domain === 'b') throw new VirtError('domain.active', { reason: 'it runs already' });
        return summary(domain);
      },
    };
    const { code, stdout, stderr } = await vireo('start', 'a', 'b', 'c');
    expect(stdout).toBe("Domain 'a' is running.\nDomain 'c' is running.\n");
    expect(stderr).toBe('error: it runs already\n');
    expect(code).toBe(1);
  });

  it.each([
    [['lits'], "unknown command 'lits'", 'did you mean list?'],
    [['set-memory', 'x', '1GiB'], "unknown command 'set-memory'", 'did you mean domain set-memory?'],
    [['volume', 'create', 'x', '99999TiB'], 'it is too large', '2GiB'],
    [['list', '--colour'], "unknown option '--colour'", '--help'],
    [['show'], "missing required argument 'domain'", '--help'],
    [['domain', 'create'], "required option '--name <name>' not specified", '--help'],
    [['list', '--state', 'asleep'], "'asleep' is invalid", '--help'],
    [['create', '--name', 'x', '--memory', '512'], 'the size has no unit', '512MiB'],
    [['create', '--name', 'x', '--vcpus', '1.5'], 'not a whole number', undefined],
    [['wait', 'x', '--timeout', 'soon'], 'not a length of time', '30s'],
    [['domain', 'qmp', 'x', 'y', '[]'], 'not a JSON object', '{"key"'],
    [['call', 'domain.nix'], 'there is no such method', 'rpc.discover'],
    [['events', '--event', 'nix'], 'there is no such event', 'domain.started'],
    [['-c', 'test:///default', 'list'], 'neither a connection name nor the absolute path', 'qemu:///system'],
  ])('of the command line exit with 2: %j', async (args, reason, hint) => {
    const { code, stdout, stderr } = await runCli(args, { socketPath: daemon.socketPath });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(reason);
    if (hint !== undefined)
      expect(stderr).toMatch(new RegExp(`repair: .*${hint.replaceAll(/[{}?"]/g, '\\$&')}`));
    expect(daemon.calls).toEqual([]);
  });

  it('of the command line are JSON too', async () => {
    const { code, stderr } = await vireo('show', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'request.invalid', exitCode: 2 } });
  });
});

describe('help', () => {
  const world = {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: {},
    cwd: '/',
    uid: 0,
  };
  const leaves = (command: Command, path: string[] = []): (readonly [string, Command])[] => [
    [path.join(' '), command] as const,
    ...command.commands.flatMap((child) => leaves(child, [...path, child.name()])),
  ];
  const commands = leaves(buildProgram(new Cli(world)));

  it('covers nouns, verbs and short forms', () => {
    const paths = commands.map(([path]) => path);
    for (const path of [
      'run',
      'events',
      'console',
      'list',
      'domain create',
      'domain forward add',
      'host check',
      'daemon info',
      'call',
      'completion',
    ])
      expect(paths).toContain(path);
    expect(paths.length).toBeGreaterThan(60);
  });

  it.each(commands)('of `vireo %s` describes everything', (_path, command) => {
    expect(command.description()).toMatch(/\S.*[.:]/);
    for (const option of command.options)
      expect(option.description, option.flags).toMatch(/\S.*\.$|fallback/);
    for (const argument of command.registeredArguments)
      if (command.name() !== '__complete') expect(argument.description, argument.name()).not.toBe('');
    expect(command.helpInformation()).toContain(`Usage: `);
  });

  it('goes to standard output and exits with 0, also without arguments', async () => {
    for (const args of [[], ['--help'], ['domain', 'create', '--help'], ['help', 'list']]) {
      const run = await runCli(args);
      expect(run).toMatchObject({ code: 0, stderr: '' });
      expect(run.stdout).toContain('Usage: vireo');
    }
    expect((await runCli(['--help'])).stdout).toContain('6    busy, or not done in time');
  });

  it('is shown on stderr for a noun without a verb, with 2', async () => {
    const run = await runCli(['host']);
    expect(run).toMatchObject({ code: 2, stdout: '' });
    expect(run.stderr).toContain('Usage: vireo host');
  });

  it('has a version', async () => {
    expect((await runCli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
