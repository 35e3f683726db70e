/** npm start: a daemon, a welcome guest that boots before your eyes, and how to reach everything. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { connectVireo, type VireoClient } from '../src/api/client.ts';
import { isVirtError, reasonOf } from '../src/base/errors.ts';
import { socketDirectory, socketName } from '../src/daemon/frontends/libvirt/sockets.ts';
import { daemonPaths } from '../src/daemon/paths.ts';
import { buildInitramfs } from './guest-image/initramfs.ts';
import { guestKernel } from './guest-image/kernel.ts';

const GUEST = 'welcome';
const BOOT_LIMIT_MS = 180_000;
const project = resolve(import.meta.dirname, '..');
const root = readRoot();
const mode = process.getuid?.() === 0 ? 'system' : 'session';
const paths = daemonPaths({ mode, ...(root !== undefined && { root }) });
const cacheHome = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');

const leftAlone = ` The guest '${GUEST}' was left as it is; 'npm start' finds it again.`;

const say = (line = '') => process.stdout.write(`${line}\n`);

/** `--root DIR`, relative to where npm was called (npm itself goes to the project). */
function readRoot(): string | undefined {
  try {
    const { values } = parseArgs({ options: { root: { type: 'string' } } });
    return values.root === undefined ? undefined : resolve(process.env['INIT_CWD'] ?? '.', values.root);
  } catch (error) {
    process.stderr.write(`npm start: ${reasonOf(error)}\nusage: npm start [-- --root DIR]\n`);
    return process.exit(2);
  }
}

/** A daemon that we started: `ended` settles with its exit status. */
interface OwnDaemon {
  stop(): Promise<void>;
  readonly ended: Promise<number | undefined>;
}

/** Starts a daemon unless one answers on the socket. */
async function ensureDaemon(): Promise<OwnDaemon | undefined> {
  const answers = await connectVireo({ socketPath: paths.socket }).then(
    (client) => client.close().then(() => true),
    () => false,
  );
  if (answers) {
    say(`A daemon serves ${paths.socket} already; using it.`);
    return undefined;
  }
  const args = ['--mode', mode, '--log-level', 'warn', '--no-idle-exit'];
  const child = execa(
    join(project, 'bin/vireod'),
    [...args, ...(root === undefined ? [] : ['--root', root])],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      reject: false,
      buffer: false,
      // Ctrl-C in the terminal reaches the whole group; the daemon is told by us, once.
      detached: true,
      cleanup: false,
    },
  );
  const ended = child.then((result) => result.exitCode);
  await new Promise<void>((done, fail) => {
    createInterface({ input: child.stdout }).on('line', (line) => line.startsWith('vireod ready') && done());
    ended.then(() => fail(new Error('the daemon did not start; its message is above')), fail);
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  return { stop, ended };
}

/** Kernel and initramfs of the welcome guest, put beside the daemon's data once. */
async function guestFiles(): Promise<{ kernel: string; initrd: string }> {
  const directory = join(paths.data, GUEST);
  const files = { kernel: join(directory, 'vmlinuz'), initrd: join(directory, 'initramfs.gz') };
  if (existsSync(files.kernel) && existsSync(files.initrd)) return files;
  const kernel = await guestKernel(join(cacheHome, 'vireo-guest'), say);
  await mkdir(directory, { recursive: true });
  await copyFile(kernel.kernelPath, files.kernel);
  await writeFile(files.initrd, await buildInitramfs(kernel));
  return files;
}

/** Defines the guest if there is none, with its files in place. Returns true when it must still be started. */
async function ensureGuest(client: VireoClient): Promise<boolean> {
  const found = await client.call('domain.get', { domain: GUEST }).catch((error: unknown) => {
    if (isVirtError(error, 'domain.not-found')) return undefined;
    throw error;
  });
  if (found?.active) {
    say(`The guest '${GUEST}' is there already: ${found.state}.`);
    return false;
  }
  const files = await guestFiles();
  if (found) return true;
  const made = await client.call('domain.create', {
    name: GUEST,
    title: 'A first guest to look around in',
    memoryBytes: 256 * 1024 * 1024,
    vcpus: 1,
    ...files,
    // On a busy host without KVM the kernel's test of the timer fails now and then, and it panics.
    cmdline: 'console=ttyS0 no_timer_check',
    networks: [{ type: 'user' }],
  });
  for (const warning of made.warnings) say(`Note: ${warning}`);
  return true;
}

/** Starts the guest with its vCPUs stopped, so that the console is open before its first word; shows it booting. */
async function bootGuest(client: VireoClient): Promise<void> {
  say(`Booting the guest '${GUEST}' ...`);
  await client.call('domain.start', { domain: GUEST, paused: true });
  const { stream } = await client.upgrade('domain.console', { domain: GUEST });
  const booted = new Promise<boolean>((done) => {
    let text = '';
    const timer = setTimeout(() => done(false), BOOT_LIMIT_MS);
    const finish = (ok: boolean) => {
      clearTimeout(timer);
      done(ok);
    };
    stream.on('data', (chunk: Buffer) => {
      process.stdout.write(chunk);
      text = (text + chunk.toString('latin1')).slice(-4096);
      if (text.includes('vireo guest: ready')) finish(true);
    });
    stream.on('close', () => finish(false));
    stream.on('error', () => finish(false));
  });
  await client.call('domain.resume', { domain: GUEST });
  const ok = await booted;
  stream.destroy();
  say();
  if (!ok)
    say(
      `The guest did not say that it is ready within ${BOOT_LIMIT_MS / 1000} s; look with: bin/vireo console ${GUEST}`,
    );
}

/** How virsh and virt-manager reach the daemon; undefined when libvirt's protocol is switched off. */
async function libvirtUri(client: VireoClient): Promise<string | undefined> {
  const { sockets } = await client.call('daemon.info', {});
  const path = sockets.find(({ frontend }) => frontend === 'libvirt')?.path;
  if (path === undefined) return undefined;
  // The path that a client finds by itself need not be named.
  const isUsual = path === join(socketDirectory({ mode, root: undefined }), socketName);
  return isUsual ? `qemu:///${mode}` : `'qemu:///${mode}?socket=${path}'`;
}

function tellHow(uri: string | undefined): void {
  const cli = `bin/vireo${root === undefined ? '' : ` --root ${root}`}`;
  say();
  say(`Vireo runs in ${mode} mode. In another terminal, here in ${project}:`);
  say(`  all domains            ${cli} list`);
  say(`  its console            ${cli} console ${GUEST}        (Enter for a prompt, leave with Ctrl-])`);
  say(`  a port into it         ${cli} forward add ${GUEST} tcp:127.0.0.1:8080:80`);
  say('                         curl http://127.0.0.1:8080/');
  say(`  switch it off          ${cli} shutdown ${GUEST}`);
  say(`  a guest of your own    ${cli} create --help`);
  say(`  what this host lacks   ${cli} host check`);
  say(`  JSON-RPC 2.0           unix://${paths.socket}   (docs/api.md)`);
  if (uri !== undefined) say(`  virsh, virt-manager    virsh -c ${uri} list --all`);
  say();
}

/**
 * Settles at Ctrl-C or SIGTERM. The handlers stay: a terminal and npm both pass a Ctrl-C on, and the second one must
 * not end us while the daemon is stopping.
 */
function interruption(): Promise<'interrupted'> {
  return new Promise((done) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => done('interrupted'));
  });
}

async function main(): Promise<void> {
  const interrupted = interruption();
  const ours = await ensureDaemon();
  const client = await connectVireo({ socketPath: paths.socket });
  let isGuestThere = false;
  try {
    const guest = ensureGuest(client).then((mustStart) => (mustStart ? bootGuest(client) : undefined));
    // After a Ctrl-C the rest of it fails, since the connection is gone; nobody waits for it then.
    guest.catch(() => undefined);
    if ((await Promise.race([guest, interrupted])) === 'interrupted') return;
    isGuestThere = true;
    tellHow(await libvirtUri(client));
    if (ours === undefined) return;
    say('Ctrl-C stops the daemon and leaves the guest running.');
    const why = await Promise.race([interrupted, ours.ended]);
    if (why !== 'interrupted') throw new Error(`the daemon ended by itself (status ${why ?? 'unknown'})`);
  } finally {
    await client.close();
    await ours?.stop();
    if (ours) say(`\nThe daemon has stopped.${isGuestThere ? leftAlone : ''}`);
  }
}

// A terminal that was closed: there is nobody to tell, and the daemon is still to be stopped.
process.stdout.on('error', () => undefined);

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`npm start: ${error instanceof Error ? error.message : String(error)}\n`);
    if (isVirtError(error) && error.hint !== undefined) process.stderr.write(`repair: ${error.hint}\n`);
    process.exit(1);
  },
);
