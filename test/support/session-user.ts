/** An ordinary user with a network namespace of its own: the command line runs there as that user, and starts the daemon. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './daemon.ts';
import { projectForEverybody } from './for-everybody.ts';
import { type Outcome, outcomeOf } from './outcome.ts';

/** An id that no file of the host belongs to, without any group. */
const UID = 64_997;

/** Made by root; `remove` takes the namespace, the daemon and the files away. */
export class SessionUser {
  readonly home = mkdtempSync(join(tmpdir(), 'vireo-user-'));
  readonly namespace = `vsu${process.pid}`;
  private readonly project: string;
  /** Keeps the mount namespace in which some files are others. */
  private readonly keeper: ChildProcess;

  /** @param hides shell commands that mount files over the host's, seen by this user only */
  constructor(hides: (home: string) => string = () => 'true') {
    chmodSync(this.home, 0o755);
    this.project = projectForEverybody(this.home);
    mkdirSync(join(this.home, '.config/vireo'), { recursive: true, mode: 0o700 });
    writeFileSync(join(this.home, '.config/vireo/vireod.toml'), '[daemon]\nidle_exit_seconds = 2\n');
    for (const path of ['', '.config', '.config/vireo', '.config/vireo/vireod.toml'])
      chownSync(join(this.home, path), UID, UID);
    const ip = (...words: string[]) => execFileSync('ip', words);
    ip('netns', 'add', this.namespace);
    ip('-n', this.namespace, 'link', 'set', 'lo', 'up');
    // passt takes its addresses from the interface with the default route.
    ip('-n', this.namespace, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1');
    ip('-n', this.namespace, 'addr', 'add', '192.0.2.2/24', 'dev', 'up0');
    for (const link of ['up0', 'up1']) ip('-n', this.namespace, 'link', 'set', link, 'up');
    ip('-n', this.namespace, 'route', 'add', 'default', 'via', '192.0.2.1');
    const ready = join(this.home, 'mounted');
    const script = `mount --make-rprivate / && ${hides(this.home)} && touch ${ready} && exec sleep infinity`;
    this.keeper = spawn('ip', ['netns', 'exec', this.namespace, 'unshare', '--mount', 'sh', '-ec', script], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }

  async ready(): Promise<void> {
    await eventually('the mounts', () => existsSync(join(this.home, 'mounted')));
  }

  /** Copies a file to where the user may read it. */
  give(path: string, name: string): string {
    const target = join(this.home, name);
    copyFileSync(path, target);
    chmodSync(target, 0o644);
    return target;
  }

  /** A program as this user. */
  run(program: string, args: readonly string[]): Promise<Outcome> {
    return this.enter(['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', program, ...args]);
  }

  /** The command line. */
  get program(): string {
    return join(this.project, 'bin/vireo');
  }

  vireo(...args: string[]): Promise<Outcome> {
    return this.run(this.program, ['-c', 'qemu:///session', ...args]);
  }

  /** A program as root, with the user's network and files. */
  enter(words: readonly string[]): Promise<Outcome> {
    const child = spawn('nsenter', ['-t', String(this.keeper.pid), '-m', '-n', ...words], {
      cwd: '/',
      env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, HOME: this.home },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return outcomeOf(child);
  }

  get socket(): string {
    return join(this.home, '.cache/vireo/run/vireo.sock');
  }

  /** The output of a domain's serial console so far. */
  console(name: string): string {
    return join(this.home, `.local/state/vireo/log/qemu/${name}-console.log`);
  }

  /** Ends the given domains; then the daemon ends by itself. */
  async remove(domains: readonly string[]): Promise<void> {
    for (const name of domains) await this.vireo('destroy', name);
    await eventually('the session daemon ends', () => !existsSync(this.socket), 20_000);
    this.keeper.kill('SIGKILL');
    execFileSync('ip', ['netns', 'del', this.namespace]);
    rmSync(this.home, { recursive: true, force: true });
  }
}
