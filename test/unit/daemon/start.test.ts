/** Before the daemon's code is loaded: directories, repairs of what is wrong with them, and the door whose clients wait. */
import { existsSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { ensureDirectory } from '../../../src/base/files.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { EarlyDoor } from '../../../src/daemon/early-door.ts';
import { serveLibvirt } from '../../../src/daemon/frontends/libvirt/server.ts';
import { withRepair } from '../../../src/daemon/start-repairs.ts';
import { LibvirtClient } from '../../support/libvirt-client.ts';
import { fakeEngine } from '../libvirt/rig.ts';

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-st-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe('directories', () => {
  it('are made with their parents', async () => {
    const directory = join(place(), 'a/b/c');
    await ensureDirectory(directory, 0o700);
    await ensureDirectory(directory, 0o700);
    expect(existsSync(directory)).toBe(true);
  });

  it('that the kernel lets nobody make are an error, and no endless loop', async () => {
    await expect(ensureDirectory('/proc/vireo-none/a/b', 0o700)).rejects.toMatchObject({
      code: 'file.not-found',
      details: { errno: 'ENOENT' },
    });
  });

  it('below a file are an error', async () => {
    const file = join(place(), 'file');
    writeFileSync(file, '');
    await expect(ensureDirectory(join(file, 'a'), 0o700)).rejects.toThrow('is not a directory');
    await expect(ensureDirectory(file, 0o700)).rejects.toThrow('it is not a directory');
  });
});

describe('the repair of a start that failed', () => {
  const denied = new VirtError('file.denied', {
    wanted: 'make a directory',
    reason: '/run/vireo: permission denied',
  });
  const readOnly = new VirtError('file.denied', { reason: 'no', details: { errno: 'EROFS' } });
  const hintOf = (error: unknown): string | undefined =>
    error instanceof VirtError ? error.hint : undefined;

  it('names the mode that an ordinary user wants', () => {
    const error = withRepair(denied, { mode: 'system', uid: 1000 });
    expect(hintOf(error)).toContain("'vireod --mode session'");
    expect(error).toMatchObject({ code: 'file.denied', message: denied.message });
  });

  it('says of directories what they have to be', () => {
    expect(hintOf(withRepair(denied, { mode: 'session', uid: 1000 }))).toContain('HOME');
    expect(hintOf(withRepair(denied, { mode: 'session', uid: 1000, root: '/r' }))).toContain('user 1000');
    expect(hintOf(withRepair(readOnly, { mode: 'system', uid: 0, root: '/r' }))).toContain('--root');
    expect(hintOf(withRepair(readOnly, { mode: 'system', uid: 0 }))).toContain('mount');
    const full = new VirtError('file.no-space', { reason: 'no space left' });
    expect(hintOf(withRepair(full, { mode: 'system', uid: 0 }))).toContain('make room');
  });

  it('is left as it is where one is known, and where none is', () => {
    const own = new VirtError('file.denied', { reason: 'no', hint: 'another' });
    for (const error of [own, new Error('a bug'), new VirtError('config.invalid', { reason: 'no' })])
      expect(withRepair(error, { mode: 'system', uid: 0 })).toBe(error);
  });
});

describe('the early door', () => {
  it('keeps clients in line until the daemon serves them', async () => {
    const directory = place();
    const early = new EarlyDoor(join(directory, 'run'));
    await early.open();
    expect(readlinkSync(join(early.directory, 'virtqemud-sock'))).toBe('libvirt-sock');
    const waiting = LibvirtClient.connect(join(early.directory, 'libvirt-sock'));
    // A client that has gone when its turn comes does no harm.
    await new Promise<void>((resolve) => {
      const gone = connect(join(early.directory, 'libvirt-sock'), () => gone.destroy());
      gone.once('close', () => resolve());
    });
    const { engine, events } = fakeEngine(directory);
    const server = await serveLibvirt({
      mode: 'session',
      engine,
      directory: early.directory,
      early,
      fallbackDirectory: join(directory, 'own'),
      rights: { mode: 0o600 },
      readOnlySocket: false,
      subscribe: (listener) => events.subscribe(listener),
      onClientsChange: () => undefined,
      log: silentLogger,
    });
    const clients = [await waiting, await LibvirtClient.connect(server.socketPath)];
    for (const client of clients) {
      await client.call('connectOpen', { name: 'qemu:///session', flags: 0 });
      expect(await client.call('connectGetType', undefined)).toEqual({ type: 'QEMU' });
    }
    for (const client of clients) client.close();
    early.abandon();
    expect(existsSync(server.socketPath), "it is the server's now").toBe(true);
    await server.close(100);
    expect(existsSync(join(early.directory, 'libvirt-sock'))).toBe(false);
    expect(existsSync(join(early.directory, 'virtqemud-sock'))).toBe(false);
  });

  it('lets go of those who wait, and of its names, when the daemon does not start', async () => {
    const early = new EarlyDoor(join(place(), 'run'));
    await early.open();
    const closed = new Promise<void>((resolve) => {
      const socket = connect(join(early.directory, 'libvirt-sock'));
      socket.on('error', () => undefined);
      socket.once('close', () => resolve());
      socket.once('connect', () => setImmediate(() => early.abandon()));
      socket.resume();
    });
    await closed;
    expect(existsSync(join(early.directory, 'libvirt-sock'))).toBe(false);
    expect(existsSync(join(early.directory, 'virtqemud-sock'))).toBe(false);
  });

  it('takes nothing that somebody else has', async () => {
    const directory = join(place(), 'run');
    mkdirSync(directory);
    writeFileSync(join(directory, 'libvirt-sock'), '');
    await expect(new EarlyDoor(directory).open()).rejects.toMatchObject({ code: 'file.exists' });
    expect(existsSync(join(directory, 'libvirt-sock'))).toBe(true);
  });
});
