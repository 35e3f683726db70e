import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../../support/needs.ts';
import { FakeDaemon, summary } from './fake-daemon.ts';
import { runCli } from './run-cli.ts';

const directory = mkdtempSync(join(tmpdir(), 'vireo-completion-'));
afterAll(() => rmSync(directory, { recursive: true }));

const scripts = new Map<string, string>();
beforeAll(async () => {
  // The scripts ask `vireo __complete domains` for names; this stands for it, and tells what it was asked with.
  const vireo = join(directory, 'vireo');
  writeFileSync(vireo, '#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\nprintf "web\\nmy web\\nwiki\\n"\n');
  chmodSync(vireo, 0o755);
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { stdout } = await runCli(['completion', shell]);
    scripts.set(shell, join(directory, `vireo.${shell}`));
    writeFileSync(join(directory, `vireo.${shell}`), stdout);
  }
});

const environment = () => ({
  PATH: `${directory}:${process.env['PATH'] ?? ''}`,
  HOME: directory,
  LC_ALL: 'C.UTF-8',
});
const checked = (program: string, args: readonly string[], input?: string) => {
  const { status, stdout, stderr } = spawnSync(program, args, {
    env: environment(),
    encoding: 'utf8',
    timeout: 20_000,
    ...(input !== undefined && { input }),
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
};

for (const shell of ['bash', 'zsh', 'fish']) {
  describeWith([shell], `the script for ${shell}`, () => {
    it('has no syntax error', () => {
      expect(checked(shell, ['-n', scripts.get(shell) ?? ''])).toBe('');
    });
  });
}

// Each line: the words before the cursor, and what must and must not be offered.
const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['vireo ho', ['host'], ['run']],
  ['vireo domain s', ['start', 'shutdown', 'show'], ['list']],
  ['vireo domain forward ', ['list', 'add', 'remove'], []],
  ['vireo host check --j', ['--json'], []],
  ['vireo create --graphics ', ['vnc', 'spice', 'none'], ['web']],
  ['vireo start w', ['web', 'wiki'], []],
  ['vireo start web w', ['web', 'wiki'], []],
  ['vireo pause ', ['web'], []],
  ['vireo network start w', ['web', 'wiki'], []],
  ['vireo pool start w', ['web', 'wiki'], []],
  ['vireo volume show w', ['web', 'wiki'], []],
  ['vireo volume create w', [], ['web']],
  ['vireo secret show w', ['web', 'wiki'], []],
  ['vireo volume clone web --secret w', ['web', 'wiki'], []],
  ['vireo network forward ', ['list', 'add', 'remove'], []],
  ['vireo -c qemu:///system show ', ['web'], ['list']],
  ['vireo completion ', ['bash', 'zsh', 'fish'], ['web']],
  ['vireo rename web ', [], ['wiki']],
  ['vireo list --state pa', ['paused'], []],
];

function expectOffers(
  offered: readonly string[],
  wanted: readonly string[],
  unwanted: readonly string[],
): void {
  for (const word of wanted) expect(offered).toContain(word);
  for (const word of unwanted) expect(offered).not.toContain(word);
}

describe('bash', () => {
  const complete = (line: string): string[] => {
    // -c qemu:///system: bash itself divides words at the colon and joins them again for us by COMP_WORDBREAKS.
    const words = line.split(' ');
    const script = `source '${scripts.get('bash')}'
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
compopt() { :; }
_vireo; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return checked('bash', ['--norc', '-c', script]).split('\n');
  };

  it.each(cases)('%s', (line, wanted, unwanted) => {
    expectOffers(complete(line), wanted, unwanted);
  });

  it('quotes a name with a blank', () => {
    expect(complete('vireo start my')).toContain('my\\ web');
  });

  it('asks the daemon that the line names', () => {
    complete('vireo --root /r -c qemu:///session start ');
    expect(readFileSync(join(directory, 'asked'), 'utf8')).toContain(
      '--root /r -c qemu:///session __complete domains',
    );
  });
});

describeWith(['fish'], 'fish', () => {
  it.each(cases)('%s', (line, wanted, unwanted) => {
    const script = `source ${scripts.get('fish')}; complete -C '${line}'`;
    const offered = checked('fish', ['--no-config', '-c', script])
      .split('\n')
      .map((entry) => entry.split('\t')[0] ?? '');
    expectOffers(offered, wanted, unwanted);
  });
});

describeWith(['zsh'], 'zsh', () => {
  // The completion functions of zsh only run in its line editor; their parts are called with stand-ins here.
  it.each(cases)('%s', (line, wanted, unwanted) => {
    const words = line.split(' ').map((word) => `'${word}'`);
    const script = `compdef() { :; }
_describe() { local -a all; all=("\${(@P)2}"); print -l -- "\${(@)all%%:*}"; }
compadd() { local -a all; all=("\${(@P)\${@[-1]}}"); print -l -- "\${(@)all}"; }
_files() { print -l FILES; }
source ${scripts.get('zsh')}
words=(${words.join(' ')}); CURRENT=${words.length}
_vireo`;
    const current = line.split(' ').at(-1) ?? '';
    const offered = checked('zsh', ['-f', '-c', script]).split('\n');
    expectOffers(
      offered.filter((word) => word.startsWith(current)),
      wanted,
      unwanted,
    );
  });
});

describe('__complete domains', () => {
  it('prints names that are safe on a line of their own', async () => {
    await using daemon = await FakeDaemon.start({
      'domain.list': () => ({
        domains: [summary('web'), summary('a b'), summary('x\u001by')],
        quarantined: [],
      }),
    });
    expect(await runCli(['__complete', 'domains'], { socketPath: daemon.socketPath })).toEqual({
      code: 0,
      stdout: 'web\na b\n',
      stderr: '',
    });
  });
});
