/** The socket: its rights from the first moment, and what may be in its way (docs/security.md, class M). */
import { chmodSync, existsSync, lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { listenUnix } from '../../../src/base/ffi.ts';
import { type ListenTarget, listenOn } from '../../../src/daemon/frontends/jsonrpc/listen.ts';
import { ping, RawClient, startServer } from './support.ts';

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'vireo-listen-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function listen(target: ListenTarget) {
  const server = createServer();
  onTestFinished(() => {
    server.close();
  });
  await listenOn(server, target);
  return server;
}

describe('listening', () => {
  it.each([0o600, 0o660])(
    'makes the socket with mode %o whatever the umask, and keeps the umask',
    async (mode) => {
      const umask = process.umask(0);
      onTestFinished(() => void process.umask(umask));
      const path = join(directory(), 's');
      await listen({ path, mode, gid: process.getgid?.() ?? 0 });
      expect(lstatSync(path).mode & 0o777).toBe(mode);
      expect(process.umask()).toBe(0);
    },
  );

  it('is private at the moment it appears', async () => {
    const umask = process.umask(0);
    onTestFinished(() => void process.umask(umask));
    const path = join(directory(), 's');
    const server = createServer();
    onTestFinished(() => void server.close());
    const listening = listenOn(server, { path, mode: 0o666 });
    // removeStale has nothing to wait for, so the socket is bound after a few microtasks.
    while (!existsSync(path)) await Promise.resolve();
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    await listening;
    expect(lstatSync(path).mode & 0o777).toBe(0o666);
  });

  it('replaces a socket on which nobody listens', async () => {
    const path = join(directory(), 's');
    const { close } = await import('../../../src/base/ffi.ts');
    close(listenUnix(path)); // the file stays, as after kill -9
    expect(existsSync(path)).toBe(true);
    await listen({ path, mode: 0o600 });
    (await RawClient.open(path)).socket.destroy();
  });

  it('leaves the socket of a living daemon alone', async () => {
    const rig = await startServer();
    await expect(listen({ path: rig.path, mode: 0o600 })).rejects.toMatchObject({ code: 'daemon.running' });
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
  });

  it('removes neither a file nor a symbolic link, nor what it points to', async () => {
    const base = directory();
    const file = join(base, 'file');
    writeFileSync(file, 'precious');
    const link = join(base, 'link');
    symlinkSync(file, link);
    const dangling = join(base, 'dangling');
    symlinkSync(join(base, 'nowhere'), dangling);
    for (const path of [file, link, dangling])
      await expect(listen({ path, mode: 0o600 })).rejects.toMatchObject({ code: 'file.exists' });
    expect(existsSync(file)).toBe(true);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(existsSync(join(base, 'nowhere'))).toBe(false);
  });

  it('refuses a path that is too long, relative, or abstract', async () => {
    for (const path of [`/tmp/${'x'.repeat(103)}`, 'relative', '\0abstract'])
      await expect(listen({ path, mode: 0o600 })).rejects.toMatchObject({ code: 'config.invalid' });
  });

  it('says which directory is missing', async () => {
    const path = join(directory(), 'none', 's');
    await expect(listen({ path, mode: 0o600 })).rejects.toMatchObject({
      code: expect.stringMatching(/^file\./) as string,
    });
  });

  it('says that it may not write there', async () => {
    const base = directory();
    chmodSync(base, 0o500);
    const isRoot = process.geteuid?.() === 0;
    // Root may write anywhere, so the call is made as nobody.
    if (isRoot) process.seteuid?.(65_534);
    try {
      await expect(listen({ path: join(base, 's'), mode: 0o600 })).rejects.toMatchObject({
        code: 'file.denied',
      });
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it('takes a descriptor of socket activation, and leaves its file when it stops', async () => {
    const path = join(directory(), 's');
    const fd = listenUnix(path, 16);
    const rig = await startServer({ listen: { fd } });
    const raw = await RawClient.open(path);
    expect(await raw.ask(ping(1))).toMatchObject({ id: 1 });
    await rig.server.close(10);
    expect(existsSync(path)).toBe(true);
  });

  it('removes its own file when it stops', async () => {
    const rig = await startServer();
    await rig.server.close(10);
    expect(existsSync(rig.path)).toBe(false);
  });
});
