/** What is told of a guest whose memory goes to a file, and of one that returns to a snapshot. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

async function running(
  events: readonly (
    | 'domain.memory-written'
    | 'domain.stopped'
    | 'domain.defined'
    | 'domain.snapshot-reverted'
  )[],
) {
  const { connect } = await startDaemon();
  const client = await connect();
  onTestFinished(() => client.close());
  const disk =
    "<disk type='file'><driver type='qcow2'/><source file='/srv/vda.img'/><target dev='vda' bus='virtio'/></disk>";
  await client.call('domain.define', { xml: xml('web', disk) });
  await client.call('domain.start', { domain: 'web' });
  const stream = await client.subscribe({ events: [...events] });
  /** So many events, as they come. */
  const next = async (count: number) => {
    const seen: unknown[] = [];
    for await (const event of stream) if (seen.push(event) === count) break;
    return seen;
  };
  return { client, next };
}

it('has the figures of the memory before the guest is stopped', async () => {
  const { client, next } = await running(['domain.memory-written', 'domain.stopped']);
  const directory = mkdtempSync(join(tmpdir(), 'vireo-transfer-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  await client.call('domain.save', { domain: 'web', path: join(directory, 'state') });
  expect(await next(2)).toMatchObject([
    {
      event: 'domain.memory-written',
      domain: { name: 'web', id: 1 },
      ...{
        job: 'save',
        passes: 1,
        stoppedMs: 2,
        setupMs: 1,
        totalBytes: 4096,
        writtenBytes: 5,
        pageBytes: 4096,
      },
    },
    { event: 'domain.stopped', reason: 'saved' },
  ]);
});

it('says that the definition is that of a snapshot from now on', async () => {
  const { client, next } = await running(['domain.defined', 'domain.snapshot-reverted']);
  await client.call('snapshot.create', { domain: 'web', name: 'one' });
  await client.call('snapshot.revert', { domain: 'web', snapshot: 'one' });
  expect(await next(2)).toMatchObject([
    { event: 'domain.defined', isNew: false, fromSnapshot: true },
    { event: 'domain.snapshot-reverted', snapshot: 'one' },
  ]);
});
