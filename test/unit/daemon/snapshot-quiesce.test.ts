/** Snapshots with frozen file systems: they are thawed whatever happens, and a thaw that fails is told. */
import { expect, it, onTestFinished, vi } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const disk = "<disk type='file'><source file='/srv/vda.img'/><target dev='vda' bus='virtio'/></disk>";
const tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
const freeze = 'agent guest-fsfreeze-freeze {}';
const thaw = 'agent guest-fsfreeze-thaw {}';

async function running(devices = disk) {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web', devices) });
  await client.call('domain.start', { domain: 'web' });
  const guest = rig.driver.guests[0];
  if (guest === undefined) throw new Error('no guest was started');
  Object.assign(guest.answers, { 'guest-fsfreeze-freeze': 2, 'guest-fsfreeze-thaw': 2 });
  // In one list: what the agent is asked, and when the disks switch.
  const { addOverlays } = rig.driver;
  const switchTo = (work: typeof addOverlays) => {
    rig.driver.addOverlays = async (...args) => {
      guest.done.push('switch');
      return work.apply(rig.driver, args);
    };
  };
  switchTo(addOverlays);
  onTestFinished(() => client.close());
  const names = async () =>
    (await client.call('snapshot.list', { domain: 'web' })).snapshots.map((one) => one.name);
  const create = () =>
    client.call('snapshot.create', { domain: 'web', name: 'one', diskOnly: true, quiesce: true });
  const done = () => guest.done.filter((one) => one !== 'not saving');
  return { client, guest, done, names, create, switchTo };
}

/** The agent answers with an error. */
function failing(answers: Record<string, unknown>, command: string, error: VirtError): void {
  Object.defineProperty(answers, command, { get: () => Promise.reject(error), enumerable: true });
}

it('freezes before the disks switch, and thaws behind it', async () => {
  const { guest, create, names } = await running();
  await create();
  expect(guest.done).toEqual([freeze, 'switch', thaw]);
  expect(guest.record.still).toBeUndefined();
  expect(await names()).toEqual(['one']);
});

it('has a guest with a TPM stand still between the two', async () => {
  const { done, create } = await running(disk + tpm);
  await create();
  expect(done()).toEqual([freeze, 'suspend for creating snapshot', 'switch', 'resume', thaw]);
});

it('thaws after a switch that failed, and leaves nothing', async () => {
  const { done, create, names, switchTo } = await running(disk + tpm);
  switchTo(() => Promise.reject(new VirtError('file.no-space', { reason: 'full' })));
  await expect(create()).rejects.toMatchObject({ code: 'file.no-space' });
  expect(done()).toEqual([freeze, 'suspend for creating snapshot', 'switch', 'resume', thaw]);
  expect(await names()).toEqual([]);
});

it('takes a freeze back that was not answered: it may come true later', async () => {
  const { guest, create, names } = await running();
  failing(guest.answers, 'guest-fsfreeze-freeze', new VirtError('agent.unresponsive', { reason: 'mute' }));
  await expect(create()).rejects.toMatchObject({ code: 'agent.unresponsive' });
  expect(guest.done).toEqual([freeze, thaw]);
  expect(await names()).toEqual([]);
});

it('leaves file systems frozen that somebody else has frozen: the agent takes no such command then', async () => {
  const { guest, create, names } = await running();
  const reason = 'Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state';
  const details = { agentCommand: 'guest-fsfreeze-freeze', class: 'CommandNotFound', desc: reason };
  failing(guest.answers, 'guest-fsfreeze-freeze', new VirtError('operation.failed', { reason, details }));
  await expect(create()).rejects.toMatchObject({ code: 'operation.failed' });
  expect(guest.done).toEqual([freeze]);
  expect(guest.record.still).toBeUndefined();
  expect(await names()).toEqual([]);
});

it('notes in the status that file systems stand still, before they do; and thaws until it is answered', async () => {
  const { guest, create } = await running();
  const noted: unknown[] = [];
  Object.defineProperty(guest.answers, 'guest-fsfreeze-freeze', {
    get: () => {
      noted.push(guest.record.still);
      return 2;
    },
    enumerable: true,
  });
  let isMute = true;
  Object.defineProperty(guest.answers, 'guest-fsfreeze-thaw', {
    get: () => (isMute ? Promise.reject(new VirtError('agent.unresponsive', { reason: 'mute' })) : 2),
    enumerable: true,
  });
  await expect(create()).rejects.toMatchObject({ code: 'operation.failed' });
  expect(noted).toEqual([{ isFrozen: true, isPaused: false }]);
  expect(guest.record.still).toEqual({ isFrozen: true, isPaused: false });
  isMute = false;
  await vi.waitFor(() => expect(guest.record.still).toBeUndefined(), { timeout: 4000, interval: 50 });
  expect(guest.done).toEqual([freeze, 'switch', thaw, thaw]);
});

it('asks an agent that is not there for nothing more', async () => {
  const { guest, create } = await running();
  failing(guest.answers, 'guest-fsfreeze-freeze', new VirtError('agent.missing', { reason: 'no channel' }));
  await expect(create()).rejects.toMatchObject({ code: 'agent.missing' });
  expect(guest.done).toEqual([freeze]);
});

it('tells of a thaw that fails; the snapshot is there', async () => {
  const { guest, create, names } = await running();
  failing(guest.answers, 'guest-fsfreeze-thaw', new VirtError('agent.unresponsive', { reason: 'mute' }));
  await expect(create()).rejects.toMatchObject({
    code: 'operation.failed',
    reason: expect.stringMatching(/snapshot 'one' is made, but .*mute/) as string,
  });
  expect(await names()).toEqual(['one']);
});

it('freezes for a disk-only snapshot alone', async () => {
  const { client, guest } = await running();
  await expect(
    client.call('snapshot.create', { domain: 'web', name: 'one', quiesce: true }),
  ).rejects.toMatchObject({ code: 'request.invalid' });
  expect(guest.done).toEqual([]);
});
