import { closeSync, constants, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { close, connectUnix } from '../../../src/base/ffi.ts';
import type { FdNeed } from '../../../src/drivers/qemu/argv/types.ts';
import { DescriptorTable, listenAt, openNeed } from '../../../src/drivers/qemu/descriptors.ts';

let directory: string;
let table: DescriptorTable;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-fds-'));
  table = new DescriptorTable();
});
afterEach(async () => {
  await table.close();
  await rm(directory, { recursive: true });
});

const at = (name: string): string => join(directory, name);
const context = { onSocket: () => undefined, onLog: () => undefined };

/** Opens one need as descriptor 0 of the table; gives the real descriptor. */
async function opened(need: Record<string, unknown>): Promise<number> {
  await openNeed({ fd: 0, purpose: 'devices.disks[0].source', ...need } as unknown as FdNeed, table, context);
  return table.list()[0] ?? -1;
}

const flagsOf = (fd: number): number =>
  Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8);

describe('what QEMU inherits', () => {
  it('follows the links of an administrator to a regular file', async () => {
    await writeFile(at('disk.img'), 'data');
    await symlink(at('disk.img'), at('link'));
    const fd = await opened({ kind: 'file', path: at('link'), access: 'ro', set: 1 });
    expect(fstatSync(fd).size).toBe(4);
  });

  it('has a writable file twice, the second time read-only', async () => {
    await writeFile(at('disk.img'), 'data');
    await opened({ kind: 'file', path: at('disk.img'), access: 'rw', set: 1, roFd: 1 });
    const [rw = -1, ro = -1] = table.list();
    expect(flagsOf(rw) & 3).toBe(constants.O_RDWR);
    expect(flagsOf(ro) & 3).toBe(constants.O_RDONLY);
  });

  it('has a text of the definition as a file that nobody can change', async () => {
    const fd = await opened({ kind: 'text', text: 'c2Vzc2lvbg==', purpose: 'launchSecurity.session' });
    expect(readFileSync(`/proc/self/fd/${fd}`, 'utf8')).toBe('c2Vzc2lvbg==');
    expect(() => writeFileSync(`/proc/self/fd/${fd}`, 'other')).toThrow(/EPERM/);
  });

  it('is opened past the page cache where QEMU will ask for that', async () => {
    await writeFile('disk-direct.tmp', ''); // Not below tmpdir(), which may be a tmpfs without O_DIRECT.
    try {
      await opened({ kind: 'file', path: 'disk-direct.tmp', access: 'rw', set: 1, roFd: 1, direct: true });
      for (const fd of table.list()) expect(flagsOf(fd) & constants.O_DIRECT).toBe(constants.O_DIRECT);
    } finally {
      await rm('disk-direct.tmp');
    }
  });

  it('whose backing file nobody looked for is not opened: the guest would see zeros', async () => {
    await writeFile(at('disk.qcow2'), '');
    const need = { kind: 'file', path: at('disk.qcow2'), access: 'rw', set: 1, unknownBacking: 'qcow2' };
    await expect(opened(need)).rejects.toThrow(/nobody looked/);
  });

  it('is refused with its path and its place when it is missing or of another kind', async () => {
    const problems = [expect.objectContaining({ path: 'devices.disks[0].source' })];
    await expect(opened({ kind: 'file', path: at('none'), access: 'ro', set: 1 })).rejects.toThrow(
      expect.objectContaining({ code: 'file.not-found', details: expect.objectContaining({ problems }) }),
    );
    await mkdir(at('dir'));
    for (const [path, device] of [
      [at('dir'), false],
      ['/dev/zero', false],
      [at('file'), true],
    ] as const) {
      await writeFile(at('file'), '');
      await expect(opened({ kind: 'file', path, access: 'ro', set: 1, device })).rejects.toThrow(
        expect.objectContaining({
          code: 'definition.unsupported',
          details: expect.objectContaining({ problems }),
        }),
      );
    }
  });

  it('empties a file that is to be truncated, but no device', async () => {
    await writeFile(at('serial.txt'), 'old');
    await opened({ kind: 'file', path: at('serial.txt'), access: 'truncate', set: 1 });
    expect(await readFile(at('serial.txt'), 'utf8')).toBe('');
  });

  it('gets a kernel as a sealed copy that anybody may read and nobody write', async () => {
    await writeFile(at('vmlinuz'), 'kernel', { mode: 0o600 });
    const fd = await opened({ kind: 'copy', path: at('vmlinuz'), purpose: 'os.kernel' });
    expect(readFileSync(`/proc/self/fd/${fd}`, 'utf8')).toBe('kernel');
    expect(fstatSync(fd).mode & 0o004).toBe(0o004);
    expect(() => writeFileSync(`/proc/self/fd/${fd}`, 'other')).toThrow('EPERM');
  });

  it('makes file-backed memory with its size', async () => {
    const need = { kind: 'memory-file', path: at('ram'), access: 'rw', createBytes: 8192, purpose: 'memory' };
    await opened(need);
    expect(await stat(at('ram'))).toMatchObject({ size: 8192, mode: 0o100600 });
  });

  it('must be asked for without gaps', () => {
    table.addFd(1, openSync('/dev/null', 'r'));
    expect(() => table.list()).toThrow(/descriptor 0 was not asked for/);
  });
});

describe('a listening socket', () => {
  it('is ours alone, and can be connected to before anybody accepts', async () => {
    const fd = await listenAt(at('qmp'), context);
    expect((await stat(at('qmp'))).mode & 0o777).toBe(0o600);
    close(connectUnix(at('qmp')));
    close(fd);
  });

  it('replaces a stale socket, but neither a living one nor a file', async () => {
    close(await listenAt(at('stale'), context));
    closeSync(await listenAt(at('stale'), context));
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(at('live'), resolve);
    });
    await expect(listenAt(at('live'), context)).rejects.toThrow(
      expect.objectContaining({ code: 'file.exists' }),
    );
    await writeFile(at('file'), 'mine');
    await expect(listenAt(at('file'), context)).rejects.toThrow(
      expect.objectContaining({ code: 'file.exists' }),
    );
    expect(await readFile(at('file'), 'utf8')).toBe('mine');
    // The living one was not harmed by our look at it.
    await new Promise<void>((resolve, reject) => {
      const client = connect(at('live'), () => client.destroy() && resolve());
      client.on('error', reject);
    });
    server.close();
  });

  it('says which path is too long or has no directory', async () => {
    await expect(listenAt(at('x'.repeat(120)), context)).rejects.toThrow(/x{50}/);
    await expect(listenAt(at('none/socket'), context)).rejects.toThrow(
      expect.objectContaining({ code: 'file.not-found' }),
    );
  });
});
