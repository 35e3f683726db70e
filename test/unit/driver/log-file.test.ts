import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import {
  LogKeeper,
  openLog,
  quoteForShell,
  readTail,
  removeLogs,
  rotateAll,
  rotateIfOver,
  sinceStart,
  writeHeader,
} from '../../../src/drivers/qemu/log-file.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-log-'));
});
afterEach(() => rm(directory, { recursive: true }));

const limits = { maxBytes: 100, backups: 3 };
const inDirectory = (name: string): string => join(directory, name);

describe('logs', () => {
  it('are made 0600 with their directory, and appended to', async () => {
    const path = inDirectory('qemu/web.log');
    for (const text of ['one\n', 'two\n']) {
      const handle = await openLog(path);
      await handle.write(text);
      await handle.close();
    }
    expect(await readFile(path, 'utf8')).toBe('one\ntwo\n');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('go with their older files, and with nothing of a domain of a longer name', async () => {
    const names = ['web.log', 'web.log.0', 'web.log.12', 'web.log.old', 'web.logs', 'web2.log', 'aweb.log'];
    for (const name of names) await writeFile(inDirectory(name), 'x');
    await removeLogs(inDirectory('web.log'));
    expect((await readdir(directory)).toSorted()).toEqual([
      'aweb.log',
      'web.log.old',
      'web.logs',
      'web2.log',
    ]);
    await removeLogs(inDirectory('web.log'));
    await removeLogs(inDirectory('not-there/web.log'));
  });

  it('are never opened through a symlink', async () => {
    await writeFile(inDirectory('target'), 'mine');
    await symlink(inDirectory('target'), inDirectory('web.log'));
    await expect(openLog(inDirectory('web.log'))).rejects.toThrow(
      expect.objectContaining({ code: 'file.failed' }),
    );
    expect(await readFile(inDirectory('target'), 'utf8')).toBe('mine');
  });

  it('begin each start with one line that cannot be split by an argument', async () => {
    const handle = await openLog(inDirectory('web.log'));
    await writeHeader(handle, ['/usr/bin/qemu', '-name', "it's\nhere"], 0);
    await handle.close();
    const text = await readFile(inDirectory('web.log'), 'utf8');
    expect(text).toBe("1970-01-01T00:00:00.000Z: starting: /usr/bin/qemu -name 'it'\\''s\\x0ahere'\n");
  });

  it('quote only what a shell would not take as it is', () => {
    expect(quoteForShell('a=b,c:d')).toBe('a=b,c:d');
    expect(quoteForShell('')).toBe("''");
    expect(quoteForShell('{"a":1}')).toBe(`'{"a":1}'`);
  });

  it('give their end from a whole line on', async () => {
    await writeFile(inDirectory('web.log'), 'first line\nsecond line\nthird\n');
    expect(await readTail(inDirectory('web.log'), 12)).toBe('third\n');
    expect(await readTail(inDirectory('web.log'), 1000)).toMatch(/^first/);
    expect(await readTail(inDirectory('none.log'), 10)).toBe('');
  });

  it('are rotated by copying when they are over their limit, and the writer goes on at the start', async () => {
    const path = inDirectory('web.log');
    const handle = await openLog(path);
    for (let round = 0; round < 5; round++) {
      await handle.write(`${round}`.repeat(101));
      expect(await rotateIfOver(path, limits)).toBe(true);
    }
    await handle.write('after');
    await handle.close();
    expect(await readFile(path, 'utf8')).toBe('after');
    expect(await readFile(`${path}.0`, 'utf8')).toBe('4'.repeat(101));
    expect(await readFile(`${path}.2`, 'utf8')).toBe('2'.repeat(101));
    await expect(stat(`${path}.3`)).rejects.toThrow('ENOENT');
    expect(await rotateIfOver(path, limits)).toBe(false);
  });

  it('keep only the end of what a fast guest has written', async () => {
    const path = inDirectory('web.log');
    await writeFile(path, `${'x\n'.repeat(500)}last\n`);
    await rotateIfOver(path, limits);
    const kept = await readFile(`${path}.0`, 'utf8');
    expect(kept.length).toBeLessThanOrEqual(limits.maxBytes);
    expect(kept).toMatch(/last\n$/);
  });

  it('are rotated once by two at the same time', async () => {
    const path = inDirectory('web.log');
    await writeFile(path, 'x'.repeat(101));
    const done = await Promise.all([rotateIfOver(path, limits), rotateIfOver(path, limits)]);
    expect(done).toEqual([true, false]);
    await expect(stat(`${path}.1`)).rejects.toThrow('ENOENT');
  });

  it('of a whole directory are rotated, but not what is no log; and a missing directory has none', async () => {
    for (const name of ['one.log', 'two.log', 'two.log.0', 'notes'])
      await writeFile(inDirectory(name), name.repeat(20));
    await writeFile(inDirectory('small.log'), 'small');
    await mkdir(inDirectory('directory.log'));
    await rotateAll(directory, limits, silentLogger);
    expect((await readdir(directory)).sort()).toEqual([
      'directory.log',
      'notes',
      'one.log',
      'one.log.0',
      'small.log',
      'two.log',
      'two.log.0',
      'two.log.1',
    ]);
    expect((await stat(inDirectory('two.log'))).size).toBe(0);
    await expect(rotateAll(inDirectory('none'), limits, silentLogger)).resolves.toBeUndefined();
  });

  it('tell what QEMU said since its start, but not that it opened terminals', () => {
    const header = '2026-01-01T00:00:00.000Z: starting: qemu';
    const said = 'char device redirected to /dev/pts/0 (label charserial0)\n2026-01-01T00:00:01Z qemu: oh';
    expect(sinceStart(`before\n${header}\n${said}\n`)).toBe('2026-01-01T00:00:01Z qemu: oh');
  });

  it('are rotated by the keeper as they grow, without anybody asking', async () => {
    const path = inDirectory('web.log');
    const handle = await openLog(path);
    const keeper = new LogKeeper(limits, silentLogger);
    keeper.add(path);
    await handle.write('x'.repeat(150));
    await expect
      .poll(
        () =>
          stat(`${path}.0`).then(
            ({ size }) => size,
            () => 0,
          ),
        { timeout: 3000 },
      )
      .toBe(150);
    keeper.close();
    await handle.close();
  });
});
