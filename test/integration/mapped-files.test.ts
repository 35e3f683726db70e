/**
 * What qemu-img could do when a hostile image had taken it over: a program in its place, with its identity and its files,
 * tries to read and write what it was not given.
 */
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { run } from '../../src/base/exec.ts';
import { openAs } from '../../src/base/mapped-files.ts';
import { identityArgs } from '../../src/base/spawn.ts';
import { type Lent, lend } from '../../src/storage/images/lend.ts';
import { describeWith } from '../support/needs.ts';

const NOBODY = 65_534;

/** Where the file system has ID-mapped mounts: the directory for temporary files, or memory. */
async function mappable(): Promise<string | undefined> {
  for (const parent of [tmpdir(), '/dev/shm', '/var/tmp']) {
    const directory = mkdtempSync(join(parent, 'vireo-mapped-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const path = join(directory, 'probe');
    writeFileSync(path, '');
    const handle = await open(path, 'r');
    const view = await openAs(handle, 'read', NOBODY);
    await handle.close();
    await view?.close();
    if (view !== undefined) return directory;
  }
  return undefined;
}

/** A file of root's own; its name is its content. */
function rootsOwn(directory: string, name: string): string {
  const path = join(directory, name);
  writeFileSync(path, name);
  chmodSync(path, 0o600);
  return path;
}

/** Runs a program as qemu-img is run; true when it went well. */
async function tryAs({ identity, files }: Lent, program: string, ...args: string[]): Promise<boolean> {
  const words = [...identityArgs(identity), '--no-new-privs', '--', program, ...args];
  const { exitCode } = await run('setpriv', words, {
    timeoutMs: 30_000,
    okExitCodes: [0, 1, 2],
    descriptors: files.map(({ fd }) => fd),
  });
  return exitCode === 0;
}

describeWith(['root'], "files of root's own", () => {
  it('are lent to nobody: read without being written, and nothing else is within reach', async () => {
    const directory = await mappable();
    // No file system here has it: then the older way is taken, which qemu-img.test.ts holds.
    if (directory === undefined) return;
    const source = rootsOwn(directory, 'source');
    const target = rootsOwn(directory, 'target');
    const other = rootsOwn(directory, 'other');
    chmodSync(directory, 0o755);
    const handles = [await open(source, 'r'), await open(target, 'r+')];
    onTestFinished(async () => void (await Promise.all(handles.map((handle) => handle.close()))));
    const [from, to] = handles as [(typeof handles)[0], (typeof handles)[0]];
    {
      await using lent = await lend([{ handle: from }, { handle: to, writes: true }]);
      expect(lent.identity).toEqual({ uid: NOBODY, gid: NOBODY, groups: [] });
      expect(await tryAs(lent, 'cat', source), 'it has no right to the name').toBe(false);
      expect(await tryAs(lent, 'grep', 'source', '/proc/self/fd/3'), 'it reads what it was given').toBe(true);
      expect(await tryAs(lent, 'dd', 'if=/dev/zero', 'of=/proc/self/fd/3', 'count=1', 'status=none')).toBe(
        false,
      );
      expect(
        await tryAs(lent, 'dd', 'if=/proc/self/fd/3', 'of=/proc/self/fd/4', 'conv=notrunc', 'status=none'),
        'it writes what it is to write',
      ).toBe(true);
      expect(await tryAs(lent, 'cat', other)).toBe(false);
      expect(await tryAs(lent, 'chmod', '666', '/proc/self/fd/3')).toBe(false);
      // Whoever owns a file may do this; it does not last.
      expect(await tryAs(lent, 'chmod', '4777', '/proc/self/fd/4')).toBe(true);
    }
    expect(readFileSync(source, 'utf8')).toBe('source');
    expect(readFileSync(target, 'utf8')).toBe('source');
    for (const path of [source, target])
      expect(statSync(path)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
  });

  it('and of others go to one program together', async () => {
    const directory = await mappable();
    if (directory === undefined) return;
    const paths = [rootsOwn(directory, 'one'), rootsOwn(directory, 'two')];
    chownSync(paths[1] as string, 12_345, 12_346);
    const handles = await Promise.all(paths.map((path) => open(path, 'r')));
    onTestFinished(async () => void (await Promise.all(handles.map((handle) => handle.close()))));
    await using lent = await lend(handles.map((handle) => ({ handle })));
    expect(lent.identity?.uid).toBe(NOBODY);
    expect(await tryAs(lent, 'grep', 'one', '/proc/self/fd/3')).toBe(true);
    expect(await tryAs(lent, 'grep', 'two', '/proc/self/fd/4')).toBe(true);
    expect(statSync(paths[1] as string)).toMatchObject({ uid: 12_345, gid: 12_346 });
  });
});
