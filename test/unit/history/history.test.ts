/** The history of guests: rates from counters, files that survive, broken ones put aside. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { processorTimeNs } from '../../../src/base/ffi.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { StatisticsHistory } from '../../../src/daemon/history/history.ts';
import { HistoryFiles } from '../../../src/daemon/history/history-files.ts';
import type { Domain } from '../../../src/daemon/services/domain.ts';
import type { DomainService } from '../../../src/daemon/services/domain-service.ts';
import type { DomainStatistics } from '../../../src/daemon/services/domain-statistics.ts';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const uuid = '6d2f1a3e-4b5c-4d6e-8f70-123456789abc';

function rig() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-history-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const domain = { uuid } as Domain;
  const samples: Partial<DomainStatistics>[] = [];
  const domains = {
    list: () => [domain],
    statistics: { sampleAll: async () => [{ domain, ...samples.shift() }] },
  } as unknown as DomainService;
  const make = () =>
    new StatisticsHistory({
      domains,
      files: new HistoryFiles({ directory, log: silentLogger }),
      sampleMs: 10_000,
      log: silentLogger,
    });
  /** What a guest has used up to `seconds` ago. */
  const used = (secondsAgo: number, cpuSeconds: number, readBytes: number): Partial<DomainStatistics> => ({
    atMs: Date.now() - secondsAgo * 1000,
    cpu: { totalNs: cpuSeconds * 1e9, userNs: 0, systemNs: 0 },
    balloon: { currentKiB: 1024, maximumKiB: 2048, residentKiB: 512, guest: undefined },
    disks: [
      {
        target: 'vda',
        alias: 'virtio-disk0',
        path: undefined,
        image: undefined,
        counters: {
          ...{ alias: 'virtio-disk0', readBytes, readRequests: 10, readNs: 0, flushRequests: 0 },
          ...{ writeBytes: 0, writeRequests: 0, writeNs: 0, flushNs: 0 },
        },
      },
    ],
    interfaces: undefined,
  });
  return { directory, domain, samples, make, used };
}

describe('the history of a guest', () => {
  it('has rates between two samples, and no rate after a pause or a counter that fell', async () => {
    const { samples, make, domain, used } = rig();
    const history = make();
    samples.push(used(100, 1, 0), used(90, 6, 20_480), used(40, 7, 20_480), used(30, 8, 0));
    for (let i = 0; i < 4; i++) await history.sample();
    const points = await history.read(domain, 'hour');
    expect(points).toHaveLength(2);
    const [cpu, resident, balloon, read, written, , received] = points[0]?.values ?? [];
    expect(cpu).toBeCloseTo(50, 3);
    expect([resident, balloon, read, written]).toEqual([512 * 1024, 1024 * 1024, 2048, 0]);
    expect(received).toBeNaN();
    expect(points[1]?.values[3]).toBeNaN();
  });

  it('has the mean of the time in which the guest was left alone, since it did nothing', async () => {
    const { samples, make, domain, used } = rig();
    const sleeper = spawn('sleep', ['60']);
    onTestFinished(() => void sleeper.kill());
    Object.assign(domain, { live: { guest: { record: { pid: sleeper.pid } } } });
    vi.useFakeTimers({ toFake: ['Date'], now: Math.floor(Date.now() / 10_000) * 10_000 });
    onTestFinished(() => void vi.useRealTimers());
    const history = make();
    samples.push(used(0, 1, 0));
    await history.sample();
    for (let look = 0; look < 3; look++) {
      vi.setSystemTime(Date.now() + 10_000);
      await history.sample();
    }
    vi.setSystemTime(Date.now() + 10_000);
    samples.push(used(0, 1, 40_000));
    const points = await history.read(domain, 'hour');
    expect(samples).toEqual([]);
    expect(points.map(({ values }) => values[3])).toEqual([1000, 1000, 1000, 1000]);
  });

  it('leaves a guest alone from the first look that finds it quiet, however much its start took', async () => {
    const { samples, make, domain, used } = rig();
    // This process stands in for a guest: it has used a good second by now, and does little more.
    Object.assign(domain, { live: { guest: { record: { pid: process.pid } } } });
    vi.useFakeTimers({ toFake: ['Date'], now: Math.floor(Date.now() / 10_000) * 10_000 });
    onTestFinished(() => void vi.useRealTimers());
    const history = make();
    const atFirst = (processorTimeNs(process.pid) ?? 0) / 1e9;
    samples.push(used(0, atFirst, 0), used(-10, atFirst, 0));
    await history.sample();
    vi.setSystemTime(Date.now() + 10_000);
    await history.sample();
    expect(samples).toHaveLength(1);
  });

  it('is there for the next daemon, and begins anew where its file is torn', async () => {
    const { samples, make, domain, directory, used } = rig();
    const first = make();
    samples.push(used(40, 1, 0), used(30, 2, 0));
    await first.sample();
    await first.sample();
    await first.stop();
    expect(await make().read(domain, 'day')).toHaveLength(1);
    truncateSync(join(directory, `${uuid}.ring`), 1000);
    const third = make();
    expect(await third.read(domain, 'hour')).toEqual([]);
    expect(readdirSync(directory)).toEqual([`${uuid}.ring.broken`]);
    samples.push(used(20, 3, 0), used(10, 4, 0));
    await third.sample();
    await third.sample();
    expect(await third.read(domain, 'hour')).toHaveLength(1);
  });

  it('is told by the API, with what is unknown as null', async () => {
    const client = await (await startDaemon()).connect();
    await client.call('domain.define', { xml: xml('web') });
    expect(await client.call('domain.stats-history', { domain: 'web', span: 'day' })).toMatchObject({
      stepSeconds: 300,
      points: [],
      enabled: true,
    });
  });
});
