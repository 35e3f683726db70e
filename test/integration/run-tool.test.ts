/** Short tools by posix_spawn: input, output, and every way they can end. */
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runTool } from '../../src/base/run-tool.ts';

const timeoutMs = 10_000;
const openDescriptors = () => readdirSync('/proc/self/fd').length;

describe('a short tool', () => {
  it('reads its input from the beginning and gives what it printed', async () => {
    const input = `one\n${'x'.repeat(300_000)}`;
    const { stdout, stderr, exitCode } = await runTool('cat', ['-'], { timeoutMs, input });
    expect([stdout === input, stderr, exitCode]).toEqual([true, '', 0]);
    expect((await runTool('wc', ['-c'], { timeoutMs })).stdout.trim()).toBe('0');
  });

  it('gets nothing of our environment, and runs in /', async () => {
    const { stdout } = await runTool('env', [], { timeoutMs });
    expect(stdout.split('\n').map((line) => line.split('=')[0])).toEqual(['PATH', 'LC_ALL', '']);
    expect((await runTool('pwd', [], { timeoutMs })).stdout).toBe('/\n');
  });

  it('tells an exit status with what was said, and takes those that are no failure', async () => {
    await expect(runTool('ls', ['/nowhere'], { timeoutMs })).rejects.toMatchObject({
      code: 'program.failed',
      reason: expect.stringMatching(/^it ended with status 2: .*nowhere/) as string,
      details: { argv: ['ls', '/nowhere'], exitCode: 2 },
    });
    expect((await runTool('ls', ['/nowhere'], { timeoutMs, okExitCodes: [2] })).exitCode).toBe(2);
  });

  it('is killed when its time is over', async () => {
    await expect(runTool('sleep', ['30'], { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'program.timeout',
    });
  });

  it('is killed when nobody waits for it any more', async () => {
    const abort = new AbortController();
    const waiting = runTool('sleep', ['30'], { timeoutMs, signal: abort.signal });
    setTimeout(() => abort.abort(), 50);
    await expect(waiting).rejects.toMatchObject({ code: 'operation.aborted' });
    const late = runTool('sleep', ['30'], { timeoutMs, signal: AbortSignal.abort() });
    await expect(late).rejects.toMatchObject({ code: 'operation.aborted' });
  });

  it('may not print more than is accepted', async () => {
    await expect(runTool('seq', ['1000'], { timeoutMs, maxOutputBytes: 100 })).rejects.toMatchObject({
      code: 'program.failed',
      reason: 'it printed more than is accepted',
    });
  });

  it('is missing when it is not there, also when it was before', async () => {
    await expect(runTool('no-such-tool', [], { timeoutMs })).rejects.toMatchObject({
      code: 'program.missing',
    });
    const directory = mkdtempSync(join(tmpdir(), 'vireo-tool-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const tool = join(directory, 'tool');
    copyFileSync('/bin/true', tool);
    await runTool(tool, [], { timeoutMs });
    rmSync(tool);
    await expect(runTool(tool, [], { timeoutMs })).rejects.toMatchObject({ code: 'program.missing' });
  });

  it('leaves no descriptor behind', async () => {
    await runTool('true', [], { timeoutMs });
    const before = openDescriptors();
    await Promise.all(Array.from({ length: 20 }, () => runTool('cat', [], { timeoutMs, input: 'x' })));
    await runTool('false', [], { timeoutMs }).catch(() => undefined);
    expect(openDescriptors()).toBe(before);
  });
});
