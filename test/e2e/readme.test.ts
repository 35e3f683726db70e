/** README.md's walk, line by line, in both modes; and its examples for programs. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { littleLinux } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

const readme = readFileSync(join(project, 'README.md'), 'utf8');

/** The code blocks of a section, by their language. */
function blocks(section: string, language: string): string[] {
  const text = readme.split(`\n## ${section}\n`)[1]?.split('\n## ')[0] ?? '';
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
    .filter((block) => block[1] === language)
    .map((block) => block[2] ?? '');
}

describeWith(['root', 'qemu-system-x86_64', 'script', 'curl', 'socat'], 'the README', () => {
  let daemon: TestDaemon;
  let directory: string;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vireo-readme-'));
    symlinkSync(join(project, 'bin'), join(directory, 'bin'));
    daemon = await TestDaemon.start();
  });
  afterEach(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  const environment = () => ({ VIREO_DEFAULT_URI: `unix://${daemon.socketPath}` });

  /** Runs lines as a shell would that stops at the first failure. Returns all that they print. */
  async function shell(lines: string): Promise<string> {
    const options = { cwd: directory, env: environment(), all: true } as const;
    const result = await execa('sh', ['-e', '-c', lines], options);
    return result.all;
  }

  /** Opens the console on a terminal, presses Enter, waits for the prompt, asks for the address, leaves by Ctrl-]. */
  async function console(line: string): Promise<string> {
    const child: ChildProcess = spawn('script', ['-qec', line, '/dev/null'], {
      cwd: directory,
      env: { ...process.env, ...environment() },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    const ended = new Promise<number | null>((done) => child.once('close', done));
    try {
      const prompt = 'first:/# ';
      const enter = setInterval(() => child.stdin?.write('\r'), 1000);
      await eventually('the guest shows a prompt', () => text.includes(prompt)).finally(() =>
        clearInterval(enter),
      );
      child.stdin?.write('ip addr\r');
      await eventually('the guest tells its address', () => text.includes('inet 10.0.2.15'));
      child.stdin?.write('\x1d');
      expect(await ended).toBe(0);
      return text;
    } finally {
      child.kill('SIGKILL');
    }
  }

  for (const mode of ['system', 'session'] as const) {
    it(`tells a walk that works in ${mode} mode`, async () => {
      await daemon.end();
      daemon = await TestDaemon.start({ mode, root: daemon.root });
      const files = join(daemon.root, 'var/lib/vireo/welcome');
      const made = await littleLinux(join(directory, 'linux'));
      mkdirSync(files, { recursive: true });
      copyFileSync(made.kernel, join(files, 'vmlinuz'));
      copyFileSync(made.initrd, join(files, 'initramfs.gz'));

      const [first = '', attach = '', forward = '', kill = '', last = '', ...more] = blocks('A walk', 'sh');
      expect(more).toEqual([]);
      expect(first).toMatch(/^files=\S+/);
      expect(await shell(first.replace(/^files=\S+/, `files='${files}'`))).toMatch(
        /first\s+running[^]*<domain type='qemu' id=/,
      );
      await console(attach);
      expect(await shell(forward)).toContain('Hello from first.');

      const guests = qemuProcesses(daemon.root);
      expect(guests).toHaveLength(1);
      expect(await shell(kill)).toContain('Hello from first.');
      await eventually('the daemon is dead', () => daemon.child.signalCode === 'SIGKILL');
      daemon = await TestDaemon.start({ mode, root: daemon.root });
      expect(qemuProcesses(daemon.root)).toEqual(guests);
      const said = await shell(last);
      expect(said).toMatch(/first\s+running/);
      expect(said).toContain('127.0.0.1:8090');
      expect(qemuProcesses(daemon.root)).toEqual([]);
    });
  }

  it('shows programs how to ask', async () => {
    const client = await daemon.connect();
    await client.call('domain.create', {
      name: 'welcome',
      memoryBytes: 64 * 1024 * 1024,
      vcpus: 1,
    });
    await client.close();
    const [lines = ''] = blocks('For programs', 'sh');
    const said = await shell(lines.replace('/run/vireo/vireo.sock', daemon.socketPath));
    expect(said.match(/"name": ?"welcome"/g)).toHaveLength(2);

    const [program = ''] = blocks('For programs', 'js');
    // Beside the project's package.json, so that 'vireo/client' means this package.
    const file = join(project, `readme-example-${process.pid}.mjs`);
    writeFileSync(file, program.replace('/run/vireo/vireo.sock', daemon.socketPath));
    try {
      expect((await execa(process.execPath, [file])).stdout).toBe('welcome: shutoff');
    } finally {
      rmSync(file);
    }
  });
});
