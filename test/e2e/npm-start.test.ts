/** The first command of a newcomer, on a terminal as they would type it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, project, qemuProcesses, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const BOOT_LIMIT_MS = 90_000;

/** A command on a pseudo terminal of its own (script(1) makes it). */
class Terminal {
  text = '';
  readonly ended: Promise<void>;
  private readonly child: ChildProcess;

  constructor(command: string) {
    this.child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: project,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
    });
    this.ended = new Promise((done) => this.child.once('close', () => done()));
  }

  async shows(words: string, limitMs: number): Promise<void> {
    let hasEnded = false;
    void this.ended.then(() => (hasEnded = true));
    await eventually(`the terminal shows '${words}'`, () => this.text.includes(words) || hasEnded, limitMs);
    if (!this.text.includes(words))
      throw new Error(`the command ended without '${words}':\n${this.text.slice(-2000)}`);
  }

  /** Presses Ctrl-C and waits for the end of the command. Returns milliseconds. */
  async interrupt(): Promise<number> {
    const before = performance.now();
    this.child.stdin?.write('\x03');
    await this.ended;
    return performance.now() - before;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

describeWith(['qemu-system-x86_64', 'script', 'npm'], 'npm start', () => {
  let root: string;
  let terminal: Terminal;
  const npmStart = () => new Terminal(`npm start -- --root ${root}`);

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'vireo-start-'));
    withoutDefaultNetwork(root);
  });
  afterAll(async () => {
    terminal.kill();
    for (const pid of qemuProcesses(root)) process.kill(pid, 'SIGKILL');
    await eventually('the guest is gone', () => qemuProcesses(root).length === 0);
    rmSync(root, { recursive: true, force: true });
  });

  it('boots the welcome guest, which tells its address, and leaves it running at Ctrl-C', async () => {
    terminal = npmStart();
    await terminal.shows('Ctrl-C stops the daemon', BOOT_LIMIT_MS);
    expect(terminal.text).toMatch(
      /Linux version .*[\s\S]*vireo guest: address 10\.0\.2\.15 gateway 10\.0\.2\.2/,
    );
    expect(terminal.text).toContain(`unix://${root}/run/vireo/vireo.sock`);
    expect(terminal.text).toContain(
      `virsh -c 'qemu:///system?socket=${root}/run/libvirt/libvirt-sock' list --all`,
    );
    expect(qemuProcesses(root)).toHaveLength(1);

    expect(await terminal.interrupt()).toBeLessThan(5000);
    expect(terminal.text).toContain('The daemon has stopped.');
    expect(terminal.text).toContain("The guest 'welcome' was left as it is");
    expect(qemuProcesses(root)).toHaveLength(1);
  });

  it('finds the guest again the next time, and starts no second one', async () => {
    const [guest] = qemuProcesses(root);
    terminal = npmStart();
    await terminal.shows('Ctrl-C stops the daemon', 30_000);
    expect(terminal.text).toContain("The guest 'welcome' is there already: running.");
    expect(terminal.text).not.toContain('Booting');
    expect(terminal.text).not.toContain('installing');
    expect(qemuProcesses(root)).toEqual([guest]);
    expect(await terminal.interrupt()).toBeLessThan(5000);
    expect(qemuProcesses(root)).toEqual([guest]);
  });
});
