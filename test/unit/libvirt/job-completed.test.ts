/** What libvirt's event of an ended job says of a backup. */
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
  const body = event?.body(3) as { params: { field: string; value: { value: unknown } }[] };
  return Object.fromEntries(body.params.map(({ field, value }) => [field, value.value]));
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

it('leaves the figures out where nothing was read, and of other jobs', () => {
  for (const params of [paramsOf('backup', 'push', 0, 0), paramsOf('save', 'writing', 5, 9)])
    expect(Object.keys(params)).toEqual(['operation', 'time_elapsed', 'success']);
});
