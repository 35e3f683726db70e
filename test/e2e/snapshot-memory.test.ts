/** Snapshots with a guest's memory in a file of its own: made while it runs or stands still, returned to, deleted. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import {
  CountingGuests,
  clientsOf,
  countingLinux,
  expectAsPlanned,
  type Step,
} from '../support/counting-guest.ts';
import { TestDaemon } from '../support/daemon.ts';
import { expectSchemaValid } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'virsh'], 'snapshots with memory', () => {
  const name = 'outer';
  let daemon: TestDaemon;
  let client: VireoClient;
  let guests: CountingGuests;
  let image: string;
  /** What the guest had last said when it was paused. */
  let paused: Step;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    guests = new CountingGuests(daemon.root, await countingLinux(`${daemon.root}/linux`));
    client = await daemon.connect();
    image = guests.makeImage('outer.qcow2');
    await client.call('domain.define', { xml: guests.domainXml(name, image) });
    await client.call('domain.start', { domain: name });
    await guests.next(name, 100_000);
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const { virsh, vireo } = clientsOf(() => daemon);
  const stateOf = async () => (await client.call('domain.get', { domain: name })).state;
  const topImage = async () =>
    /<source file='([^']+)'/.exec((await client.call('domain.xml', { domain: name })).xml)?.[1] ?? '';
  /** The guest goes on from one of the steps that it had come to: with the memory and the disk of that moment. */
  const expectGoesOnFrom = async (known: readonly Step[]) => {
    const after = await guests.next(name);
    expect(known.findLast(({ step }) => step === after.step - 1)?.is).toBe(after.was);
    return after;
  };

  it('are made while the guest runs on, and brought back by virsh', async () => {
    const before = await guests.next(name);
    const plan = await client.call('snapshot.plan', {
      domain: name,
      create: { name: 'one', memoryPath: guests.path('one.mem') },
    });
    expect(plan.guest).toBe('stands-still');
    expect(plan.changes.map(({ what, path }) => [what, path])).toEqual([
      ['made', guests.path('outer.one')],
      ['kept', image],
      ['made', guests.path('one.mem')],
    ]);
    virsh('snapshot-create-as', name, 'one', '--memspec', `${guests.path('one.mem')},snapshot=external`);
    expect(await stateOf()).toBe('running');
    const known = guests.steps(name);
    expect(await topImage()).toBe(guests.path('outer.one'));
    const xml = virsh('snapshot-dumpxml', name, 'one');
    expect(xml).toContain(`<memory snapshot='external' file='${guests.path('one.mem')}'/>`);
    expectSchemaValid(xml, '/usr/share/libvirt/schemas/domainsnapshot.rng');
    await guests.next(name);
    await guests.next(name);

    virsh('snapshot-revert', name, 'one');
    expect(await stateOf()).toBe('running');
    const after = await expectGoesOnFrom(known);
    expect(after.step).toBeGreaterThan(before.step);
    // What came after it was in no snapshot; what holds its state is as it was.
    expect(existsSync(guests.path('outer.one'))).toBe(false);
    const { xml: stored } = await client.call('domain.xml', { domain: name, inactive: true });
    expect(stored).toContain(`<source file='${await topImage()}'`);
  });

  it('are made of a live guest, which stands still only at the end', async () => {
    vireo('snapshot', 'create', name, 'live', '--memory-file', guests.path('live.mem'), '--live');
    expect(await stateOf()).toBe('running');
    const known = guests.steps(name);
    await guests.next(name);
    await guests.next(name);
    vireo('snapshot', 'revert', name, 'live', '--yes');
    await expectGoesOnFrom(known);
  });

  it('leave a paused guest paused, with disks that can be used', async () => {
    await guests.next(name);
    await client.call('domain.suspend', { domain: name });
    paused = guests.steps(name).at(-1) as Step;
    const made = await client.call('snapshot.create', {
      domain: name,
      name: 'still',
      memoryPath: guests.path('still.mem'),
    });
    expect(made).toMatchObject({ state: 'paused', memory: 'external', parent: 'live' });
    expect(await stateOf()).toBe('paused');
    // Another one: QEMU has its disks, and can be saved again.
    await client.call('snapshot.create', {
      domain: name,
      memoryPath: guests.path('again.mem'),
      name: 'again',
    });
    expect(await stateOf()).toBe('paused');
    await client.call('snapshot.revert', { domain: name, snapshot: 'still' });
    expect(await stateOf()).toBe('paused');
    expect(guests.steps(name).at(-1)).toEqual(paused);
    await client.call('snapshot.revert', { domain: name, snapshot: 'still', state: 'running' });
    await guests.expectOnFrom(name, paused);
  });

  it('are refused where a file is, and leave everything when their memory is not to be read', async () => {
    const file = guests.path('still.mem');
    const top = await topImage();
    await expect(
      client.call('snapshot.create', { domain: name, name: 'more', memoryPath: file }),
    ).rejects.toMatchObject({ code: 'file.exists' });
    writeFileSync(file, 'no saved state');
    await expect(client.call('snapshot.revert', { domain: name, snapshot: 'still' })).rejects.toMatchObject({
      code: 'saved-state.invalid',
    });
    expect(await stateOf()).toBe('running');
    expect(await topImage()).toBe(top);
    await guests.next(name);
  });

  it('go while the guest runs, also from the middle; those after it stay whole', async () => {
    const before = guests.steps(name);
    const plan = await client.call('snapshot.plan', { domain: name, delete: { snapshot: 'live' } });
    expect(plan).toMatchObject({ guest: 'runs-on', children: [{ name: 'still', parent: 'one' }] });
    await expectAsPlanned(daemon.root, plan, () => virsh('snapshot-delete', name, 'live'));
    await guests.next(name);
    expectUnbroken(guests.steps(name).slice(before.length - 1));
    await client.call('snapshot.revert', { domain: name, snapshot: 'again', state: 'running' });
    await guests.expectOnFrom(name, paused);
  });

  it('take the files of their memory along, and leave the guest on the image that it began with', async () => {
    await guests.next(name);
    const before = guests.steps(name);
    const plan = await client.call('snapshot.plan', {
      domain: name,
      delete: { snapshot: 'one', scope: 'with-children' },
    });
    expect(plan.snapshots).toEqual(['again', 'still', 'one']);
    const told = vireo('snapshot', 'delete', name, 'one', '--children', '--dry-run');
    expect(told).toMatch(/removed +memory +\S+one\.mem/);
    expect(told).toContain('Nothing has been done.');
    await expectAsPlanned(daemon.root, plan, () => virsh('snapshot-delete', name, 'one', '--children'));
    expect(await client.call('snapshot.list', { domain: name })).toMatchObject({ snapshots: [] });
    // What was put in place of one is no saved state.
    expect(readdirSync(daemon.root).filter((file) => file.endsWith('.mem'))).toEqual(['still.mem']);
    expect(readdirSync(daemon.root).filter((file) => file.startsWith('outer.'))).toEqual([
      'outer.qcow2',
      'outer.serial',
    ]);
    await guests.next(name);
    expectUnbroken(guests.steps(name).slice(before.length - 1));
    await client.call('domain.suspend', { domain: name });
    await client.call('domain.destroy', { domain: name });
    const { is = '' } = guests.steps(name).at(-1) ?? {};
    const { xml } = await client.call('domain.xml', { domain: name });
    expect(xml).toContain(`<source file='${image}'/>`);
    await client.call('domain.start', { domain: name });
    expect((await guests.next(name, 100_000)).was).toBe(is);
  });
});

/** Each step finds on the disk what the one before it left there. */
function expectUnbroken(steps: readonly Step[]): void {
  expect(steps.length).toBeGreaterThan(1);
  for (const [at, { step, was }] of steps.slice(1).entries())
    expect({ step, was }).toEqual({ step: (steps[at]?.step ?? 0) + 1, was: steps[at]?.is });
}
