/** The small things everything stands on: errors, units, undo, jobs, files, programs. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorTable, fileError, oneLine, VirtError } from '../../../src/base/errors.ts';
import { run } from '../../../src/base/exec.ts';
import { readText, removeDurable, writeDurable } from '../../../src/base/files.ts';
import { JobQueue } from '../../../src/base/jobs.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { Undo } from '../../../src/base/undo.ts';
import { formatBytes, parseSize, toBytes } from '../../../src/base/units.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-base-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('errors', () => {
  it('give every code a JSON-RPC number of its own, outside the reserved range', () => {
    const numbers = Object.values(errorTable).map((row) => row.jsonrpc);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.every((number) => number > 0)).toBe(true);
  });

  it('never let control characters into a line', () => {
    expect(oneLine('a\nb\u001b[31m\u202ec')).toBe('a\\x0ab\\x1b[31m\\x202ec');
    expect(oneLine('x'.repeat(10_000))).toHaveLength(4096);
    expect(new VirtError('file.failed', { reason: 'a\nb' }).message).toBe('a\\x0ab');
  });

  it('turn an errno into the fitting code', () => {
    const error = fileError(Object.assign(new Error('x'), { code: 'ENOSPC' }), 'store it', '/x');
    expect(error.code).toBe('file.no-space');
    expect(error.message).toBe('cannot store it: /x: no space left on the device');
    const tooLarge = fileError(Object.assign(new Error('x'), { code: 'EFBIG' }), 'store it', '/x');
    expect(tooLarge.hint).toContain('a file system that takes larger files');
  });
});

describe('units', () => {
  it("follow libvirt's words", () => {
    expect(toBytes(1, 'KiB')).toBe(1024);
    expect(toBytes(1, 'k')).toBe(1024);
    expect(toBytes(1, 'KB')).toBe(1000);
    expect(toBytes(2, 'G')).toBe(2 * 1024 ** 3);
    expect(toBytes(1, 'parsec')).toBeUndefined();
    expect(toBytes(9000, 'EiB')).toBeUndefined();
  });

  it('read what people write', () => {
    expect(parseSize('2GiB')).toBe(2 * 1024 ** 3);
    expect(parseSize('1.5 g')).toBe(1.5 * 1024 ** 3);
    expect(parseSize('512')).toBe(512);
    for (const bad of ['', '-1', '1 GiBB', '1e9', '0x10', 'GiB'])
      expect(() => parseSize(bad)).toThrow(VirtError);
  });

  it('show a size with at most one decimal', () => {
    expect(formatBytes(2 * 1024 ** 3)).toBe('2 GiB');
    expect(formatBytes(1536)).toBe('1.5 KiB');
    expect(formatBytes(0)).toBe('0 B');
  });
});

describe('undo', () => {
  it('takes steps back newest first and goes on past one that fails', async () => {
    const taken: string[] = [];
    await expect(
      (async () => {
        await using undo = new Undo(silentLogger);
        undo.add('one', () => void taken.push('one'));
        undo.add('two', () => Promise.reject(new Error('stuck')));
        undo.add('three', () => void taken.push('three'));
        throw new Error('the first error');
      })(),
    ).rejects.toThrow('the first error');
    expect(taken).toEqual(['three', 'one']);
  });

  it('takes nothing back after keep', async () => {
    const taken: string[] = [];
    {
      await using undo = new Undo(silentLogger);
      undo.add('one', () => void taken.push('one'));
      undo.keep();
    }
    expect(taken).toEqual([]);
  });
});

describe('jobs', () => {
  it('run one at a time, in order, and name the running one', async () => {
    const queue = new JobQueue("domain 'x'");
    const log: string[] = [];
    const gate = Promise.withResolvers<void>();
    const first = queue.run('start', () => gate.promise.then(() => void log.push('first')), { waitMs: 1000 });
    const second = queue.run('destroy', async () => void log.push('second'), { waitMs: 1000 });
    expect(queue.current?.name).toBe('start');
    gate.resolve();
    await Promise.all([first, second]);
    expect(log).toEqual(['first', 'second']);
    expect(queue.current).toBeUndefined();
  });

  it('say with what the object is busy, and the line goes on', async () => {
    const queue = new JobQueue("domain 'x'");
    const gate = Promise.withResolvers<void>();
    const first = queue.run('start', () => gate.promise, { waitMs: 1000 });
    const late = queue.run('reset', async () => undefined, { waitMs: 20 });
    await expect(late).rejects.toMatchObject({ code: 'domain.busy', details: { job: 'start' } });
    gate.resolve();
    await first;
    await expect(queue.run('reset', async () => 7, { waitMs: 20 })).resolves.toBe(7);
  });

  it('can be left while waiting', async () => {
    const queue = new JobQueue("domain 'x'");
    const gate = Promise.withResolvers<void>();
    const first = queue.run('start', () => gate.promise, { waitMs: 1000 });
    const abort = new AbortController();
    const waiting = queue.run('reset', async () => undefined, { waitMs: 1000, signal: abort.signal });
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'operation.aborted' });
    gate.resolve();
    await first;
  });

  it('free the object when a job fails', async () => {
    const queue = new JobQueue("domain 'x'");
    await expect(queue.run('start', () => Promise.reject(new Error('no')), { waitMs: 10 })).rejects.toThrow(
      'no',
    );
    await expect(queue.run('start', async () => 1, { waitMs: 10 })).resolves.toBe(1);
  });
});

describe('files', () => {
  it('are replaced whole, with the mode asked for, and leave no litter', async () => {
    const path = join(directory, 'a');
    await writeDurable(path, 'one', { mode: 0o600 });
    await writeDurable(path, 'two', { mode: 0o640 });
    expect(await readFile(path, 'utf8')).toBe('two');
    expect((await stat(path)).mode & 0o777).toBe(0o640);
    expect(await readdir(directory)).toEqual(['a']);
    await removeDurable(path);
    await removeDurable(path);
    expect(await readdir(directory)).toEqual([]);
  });

  it('keep the old content when the new one cannot be written', async () => {
    const path = join(directory, 'dir', 'a');
    await expect(writeDurable(path, 'x')).rejects.toMatchObject({ code: 'file.not-found' });
    expect(await readdir(directory)).toEqual([]);
  });

  it('stay as they were when what is done meanwhile fails, and that error is told as it is', async () => {
    const path = join(directory, 'a');
    await writeDurable(path, 'one');
    const bug = new TypeError('a bug of the caller');
    await expect(writeDurable(path, 'two', { meanwhile: () => Promise.reject(bug) })).rejects.toBe(bug);
    expect(await readFile(path, 'utf8')).toBe('one');
    expect(await readdir(directory)).toEqual(['a']);
    let seen = '';
    const meanwhile = async (): Promise<void> => {
      seen = await readFile(path, 'utf8');
    };
    await writeDurable(path, 'two', { meanwhile });
    expect([seen, await readFile(path, 'utf8')]).toEqual(['one', 'two']);
    await removeDurable(path);
  });

  it('have something done when they are on the disk and before they take their place', async () => {
    const path = join(directory, 'a');
    await writeDurable(path, 'one');
    let seen: string[] = [];
    const before = async (): Promise<void> => {
      const names = await readdir(directory);
      const contents = names.map((name) => readFile(join(directory, name), 'utf8'));
      seen = (await Promise.all(contents)).sort();
    };
    await writeDurable(path, 'two', { before });
    expect(seen).toEqual(['one', 'two']);
    const bug = new TypeError('a bug of the caller');
    await expect(writeDurable(path, 'three', { before: () => Promise.reject(bug) })).rejects.toBe(bug);
    expect(await readFile(path, 'utf8')).toBe('two');
    expect(await readdir(directory)).toEqual(['a']);
    let isDone = false;
    const late = () => {
      isDone = true;
      return Promise.resolve();
    };
    await expect(writeDurable(join(directory, 'none', 'a'), 'x', { before: late })).rejects.toThrow();
    expect(isDone).toBe(false);
    await removeDurable(path);
  });

  it('get what a function makes while they are opened, and stay as they were when that fails', async () => {
    const path = join(directory, 'a');
    await writeDurable(path, () => 'one');
    const bug = new TypeError('a bug of the caller');
    const fails = (): string => {
      throw bug;
    };
    await expect(writeDurable(path, fails)).rejects.toBe(bug);
    expect(await readFile(path, 'utf8')).toBe('one');
    expect(await readdir(directory)).toEqual(['a']);
    await removeDurable(path);
  });

  it('are read only when they are regular and not too large', async () => {
    const path = join(directory, 'big');
    await writeFile(path, 'x'.repeat(100));
    await expect(readText(path, 99)).rejects.toMatchObject({ code: 'request.too-large' });
    await expect(readText(directory, 99)).rejects.toMatchObject({ code: 'file.failed' });
    const fifo = join(directory, 'fifo');
    await run('mkfifo', [fifo], { timeoutMs: 5000 });
    await expect(readText(fifo, 99)).rejects.toMatchObject({ code: 'file.failed' });
  });
});

describe('programs', () => {
  it('give output and a closed environment', async () => {
    process.env['VIREO_TEST_SECRET'] = 'x';
    const { stdout } = await run('env', [], { timeoutMs: 5000 });
    delete process.env['VIREO_TEST_SECRET'];
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split('=')[0])
        .toSorted((a = '', b = '') => (a < b ? -1 : 1)),
    ).toEqual(['LC_ALL', 'PATH']);
  });

  it('that fail tell their argv, status and the end of stderr', async () => {
    await expect(run('ls', ['/nonexistent-vireo'], { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'program.failed',
      details: { argv: ['ls', '/nonexistent-vireo'], exitCode: 2 },
    });
  });

  it('that are not there, hang or print too much are told apart', async () => {
    await expect(run('no-such-program-vireo', [], { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'program.missing',
    });
    await expect(run('sleep', ['20'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'program.timeout' });
    await expect(run('yes', [], { timeoutMs: 5000, maxOutputBytes: 1000 })).rejects.toMatchObject({
      code: 'program.failed',
    });
    const abort = new AbortController();
    const running = run('sleep', ['20'], { timeoutMs: 5000, signal: abort.signal });
    abort.abort();
    await expect(running).rejects.toMatchObject({ code: 'operation.aborted' });
  });
});
