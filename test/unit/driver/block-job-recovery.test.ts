/** Block jobs that an earlier daemon was about to end. */
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { BlockJobRecord, GuestRecord } from '../../../src/drivers/driver.ts';
import { type JobGuest, QemuBlockJobs } from '../../../src/drivers/qemu/block-jobs/jobs.ts';
import type { QmpClient } from '../../../src/drivers/qemu/qmp/client.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const { definition } = parseDomain(
  `<domain type='qemu'><name>web</name><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
    <devices><disk type='file'><source file='/srv/a.img'/><target dev='vda' bus='virtio'/></disk></devices></domain>`,
  { mode: 'lenient' },
);

/** What is asked of QEMU about a job that has that status, after a restart of the daemon. */
async function askedAfterRestart(job: Partial<BlockJobRecord>, status: string): Promise<string[]> {
  const asked: string[] = [];
  const qmp = {
    execute: async (command: string) => {
      if (command === 'query-jobs') return [{ id: 'job-vda', status }];
      if (command === 'query-named-block-nodes') return [];
      asked.push(command);
      return {};
    },
  } as unknown as QmpClient;
  const guest: JobGuest = {
    record: { blockJobs: [{ id: 'job-vda', kind: 'copy', disk: 'vda', ...job }] } as unknown as GuestRecord,
    definition,
    setRecord: () => undefined,
    setDefinition: () => undefined,
    monitorClient: () => qmp,
    replay: () => undefined,
  };
  await new QemuBlockJobs(guest, silentLogger).recover(qmp);
  return asked;
}

describe('a job that the daemon was about to end when it died', () => {
  it('is asked to switch once more, as long as it waits for that', async () => {
    expect(await askedAfterRestart({ ending: 'pivot', isReady: true }, 'ready')).toEqual(['job-complete']);
  });

  it('is called off once more, as long as it works', async () => {
    expect(await askedAfterRestart({ ending: 'cancel' }, 'running')).toEqual(['block-job-cancel']);
    expect(await askedAfterRestart({ ending: 'cancel', isReady: true }, 'ready')).toEqual([
      'block-job-cancel',
    ]);
  });

  it('is left alone where nothing was asked of it', async () => {
    expect(await askedAfterRestart({ isReady: true }, 'ready')).toEqual([]);
    expect(await askedAfterRestart({}, 'running')).toEqual([]);
  });
});
