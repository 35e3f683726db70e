/** What libvirt's event of an ended job says of a backup, and of a guest's memory in a file; of other jobs there is none. */
import { expect, it } from 'vitest';
import { translate } from '../../../src/daemon/frontends/libvirt/events/translate.ts';

const domain = { uuid: '0f0f0f0f-4f50-4a61-8b72-93a4b5c6d7e8', name: 'web', id: 1 };

function paramsOf(job: string, step: string | null, done: number | null, total: number | null) {
  const [event] = translate({
    event: 'job.ended',
    id: 'x-1',
    object: { type: 'domain', uuid: domain.uuid, name: domain.name, pool: null },
    ...{ domain, job, step, done, total },
    ...{ unit: 'bytes', durationMs: 7, error: null },
  });
  return fieldsOf(event);
}

function fieldsOf(event: ReturnType<typeof translate>[number] | undefined): Record<string, unknown> {
  const body = event?.body(3) as { params: { field: string; value: { value: unknown } }[] } | undefined;
  return Object.fromEntries(body?.params.map(({ field, value }) => [field, value.value]) ?? []);
}

it('tells what a backup read, as libvirt does', () => {
  expect(paramsOf('backup', 'push', 768, 1024)).toEqual({
    ...{ operation: 9, time_elapsed: 7, success: 1 },
    ...{ disk_total: 1024, disk_processed: 768, disk_remaining: 256 },
  });
});

it('tells of a pull what its scratch images took', () => {
  expect(paramsOf('backup', 'pull', 64, 1024)).toMatchObject({ disk_temp_used: 64, disk_temp_total: 1024 });
});

it('leaves the figures out where nothing was read', () => {
  expect(Object.keys(paramsOf('backup', 'push', 0, 0))).toEqual(['operation', 'time_elapsed', 'success']);
});

it('says nothing of a job whose end libvirt does not tell', () => {
  for (const job of ['save', 'snapshot', 'restore', 'dump', 'start'])
    expect(paramsOf(job, null, null, null)).toEqual({});
});

it('tells of memory that is whole in a file what QEMU counted, in the order that libvirt has', () => {
  const [event] = translate({
    event: 'domain.memory-written',
    ...{ domain, job: 'save', durationMs: 9, stoppedMs: 8, setupMs: 1, passes: 3 },
    ...{ totalBytes: 4096, writtenBytes: 2048, remainingBytes: 0, bytesPerSecond: 5, pageBytes: 4096 },
    ...{ constantPages: 2, normalPages: 1, normalBytes: 4096, dirtyPagesPerSecond: 0 },
  });
  const fields = fieldsOf(event);
  expect(fields).toEqual({
    ...{ operation: 2, time_elapsed: 9, downtime: 8, setup_time: 1 },
    ...{ data_total: 4096, data_processed: 2048, data_remaining: 0 },
    ...{ memory_total: 4096, memory_processed: 2048, memory_remaining: 0, memory_bps: 5 },
    ...{ memory_constant: 2, memory_normal: 1, memory_normal_bytes: 4096, memory_dirty_rate: 0 },
    ...{ memory_iteration: 3, memory_postcopy_requests: 0, memory_page_size: 4096 },
  });
  expect(Object.keys(fields).slice(0, 4)).toEqual(['operation', 'time_elapsed', 'downtime', 'setup_time']);
});
