/** Processor time of processes: as Node counts its own, and nothing of one that is gone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { processorTimeNs } from '../../../src/base/ffi.ts';

describe('processor time', () => {
  it('is that of all threads, as the process itself is told', () => {
    const ownMs = (): number => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
    const before = ownMs();
    const found = (processorTimeNs(process.pid) ?? 0) / 1e6;
    expect(found).toBeGreaterThan(before - 100);
    expect(found).toBeLessThan(ownMs() + 100);
  });

  it('is undefined for a process that has ended', async () => {
    const child = spawn('true');
    const pid = child.pid ?? 0;
    await once(child, 'exit');
    expect(processorTimeNs(pid)).toBeUndefined();
  });
});
