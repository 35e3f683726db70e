/** The sockets: libvirt's names, never a living daemon's, stale ones replaced, all gone at the end; and signs of life. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { Keepalive } from '../../../src/daemon/frontends/libvirt/keepalive.ts';
import { socketOwner } from '../../../src/daemon/frontends/libvirt/owner.ts';
import { serveLibvirt } from '../../../src/daemon/frontends/libvirt/server.ts';
import { socketDirectory } from '../../../src/daemon/frontends/libvirt/sockets.ts';
import { LibvirtClient } from '../../support/libvirt-client.ts';
import { fakeEngine } from './rig.ts';

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-ls-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, 'run'));
  return directory;
}

async function serve(directory: string, readOnlySocket = false) {
  const { engine, events } = fakeEngine(directory);
  const server = await serveLibvirt({
    mode: 'system',
    engine,
    directory: join(directory, 'run'),
    fallbackDirectory: join(directory, 'own'),
    rights: { mode: 0o600 },
    readOnlySocket,
    subscribe: (listener) => events.subscribe(listener),
    onClientsChange: () => undefined,
    log: silentLogger,
  });
  let isClosed = false;
  const close = async () => {
    if (!isClosed) await server.close(100);
    isClosed = true;
  };
  onTestFinished(close);
  return { server, close };
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer().listen(path, () => resolve(server));
  });
}

describe('sockets', () => {
  it('are at the place of the mode', () => {
    expect(socketDirectory({ mode: 'system', root: undefined }, {})).toBe('/run/libvirt');
    expect(socketDirectory({ mode: 'session', root: '/r' }, {})).toBe('/r/run/libvirt');
    expect(socketDirectory({ mode: 'session', root: undefined }, { XDG_RUNTIME_DIR: '/run/user/7' })).toBe(
      '/run/user/7/libvirt',
    );
    expect(socketDirectory({ mode: 'session', root: undefined }, { HOME: '/home/a' })).toBe(
      '/home/a/.cache/libvirt',
    );
  });

  it('have the rights they should, under every name that clients look for, and go with the daemon', async () => {
    const directory = place();
    const { close } = await serve(directory, true);
    const run = join(directory, 'run');
    expect(lstatSync(join(run, 'libvirt-sock')).mode & 0o777).toBe(0o600);
    expect(lstatSync(join(run, 'libvirt-sock-ro')).mode & 0o777).toBe(0o666);
    expect(readlinkSync(join(run, 'virtqemud-sock'))).toBe('libvirt-sock');
    expect(readlinkSync(join(run, 'virtnetworkd-sock-ro'))).toBe('libvirt-sock-ro');
    (await LibvirtClient.open(join(run, 'virtstoraged-sock'))).close();
    await close();
    for (const name of ['libvirt-sock', 'libvirt-sock-ro', 'virtqemud-sock', 'virtproxyd-sock-ro'])
      expect(lstatSync(join(run, name), { throwIfNoEntry: false })).toBeUndefined();
  });

  it('of a dead daemon are replaced', async () => {
    const directory = place();
    const path = join(directory, 'run/libvirt-sock');
    const dead = await listen(path);
    // Node takes the file away when it closes; a daemon that was killed does not.
    const other = join(directory, 'kept');
    symlinkSync('libvirt-sock', join(directory, 'run/virtqemud-sock'));
    const { renameSync } = await import('node:fs');
    renameSync(path, other);
    await new Promise((resolve) => dead.close(resolve));
    renameSync(other, path);
    expect(socketOwner(path)).toBeUndefined();
    const { server } = await serve(directory);
    expect(server.socketPath).toBe(path);
    (await LibvirtClient.open(join(directory, 'run/virtqemud-sock'))).close();
  });

  it('of a living daemon stay its own; we serve beside it', async () => {
    const directory = place();
    const path = join(directory, 'run/libvirt-sock');
    const alive = await listen(path);
    onTestFinished(() => void alive.close());
    expect(socketOwner(path)).toMatchObject({ pid: process.pid });
    const { server } = await serve(directory);
    expect(server.socketPath).toBe(join(directory, 'own/libvirt-sock'));
    (await LibvirtClient.open(server.socketPath)).close();
    expect(existsSync(join(directory, 'run/virtqemud-sock'))).toBe(false);
  });

  it('leave alone what is not theirs under a modular name', async () => {
    const directory = place();
    const path = join(directory, 'run/virtqemud-sock');
    writeFileSync(path, 'mine');
    const { close } = await serve(directory);
    await close();
    expect(lstatSync(path).isFile()).toBe(true);
  });

  it('take a hundred clients that may only look, and still those who may do more', async () => {
    const directory = place();
    const { server } = await serve(directory, true);
    const clients: LibvirtClient[] = [];
    for (let i = 0; i < 100; i++) clients.push(await LibvirtClient.open(`${server.socketPath}-ro`));
    await expect(LibvirtClient.open(`${server.socketPath}-ro`)).rejects.toThrow('the connection was closed');
    clients.push(await LibvirtClient.open(server.socketPath));
    for (const client of clients) client.close();
  });
});

describe('keepalive', () => {
  afterEach(() => void vi.useRealTimers());

  function start(isDeaf = false) {
    vi.useFakeTimers();
    const told: string[] = [];
    const keepalive = new Keepalive({
      sendPing: () => told.push('ping'),
      onDead: () => told.push('dead'),
      isDeaf: () => isDeaf,
    });
    return { told, keepalive };
  }

  it('pings a silent client every five seconds, and gives up after five pings', () => {
    const { told } = start();
    vi.advanceTimersByTime(60_000);
    expect(told).toEqual(['ping', 'ping', 'ping', 'ping', 'ping', 'dead']);
  });

  it('is content with any message', () => {
    const { told, keepalive } = start();
    for (let i = 0; i < 20; i++) {
      vi.advanceTimersByTime(4000);
      keepalive.heard();
    }
    expect(told).not.toContain('dead');
    keepalive.stop();
    vi.advanceTimersByTime(60_000);
    expect(told.filter((one) => one === 'ping').length).toBeLessThan(2);
  });

  it('blames nobody while it does not listen itself', () => {
    const { told } = start(true);
    vi.advanceTimersByTime(60_000);
    expect(told).toEqual([]);
  });
});
