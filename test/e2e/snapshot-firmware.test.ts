/**
 * Snapshots of a UEFI guest with a TPM: variables and keys are of the moment that disks and memory are of. The guest tells
 * what its TPM holds at each step; the files of both are looked at from outside.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { CountingGuests, clientsOf, countingLinux, type Step } from '../support/counting-guest.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const needs = ['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'swtpm', 'virsh', '/usr/share/OVMF'];

describeWith(needs, 'snapshots of a guest with UEFI and a TPM', () => {
  const name = 'sealed';
  let daemon: TestDaemon;
  let client: VireoClient;
  let guests: CountingGuests;
  let nvram: string;
  let uuid: string;
  const { virsh, vireo } = clientsOf(() => daemon);

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    guests = new CountingGuests(daemon.root, await countingLinux(`${daemon.root}/linux`));
    client = await daemon.connect();
    const image = guests.makeImage(`${name}.qcow2`);
    const devices = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
    const machine = { machine: 'q35', firmware: 'efi', devices } as const;
    await client.call('domain.define', { xml: guests.domainXml(name, image, machine) });
    const { xml } = await client.call('domain.xml', { domain: name });
    nvram = /<nvram[^>]*>([^<]+)</.exec(xml)?.[1] ?? '';
    uuid = /<uuid>([^<]+)</.exec(xml)?.[1] ?? '';
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const hashOf = (path: string) =>
    createHash('sha256')
      .update(existsSync(path) ? readFileSync(path) : 'nothing')
      .digest('hex');
  const tpm = () => join(daemon.root, 'var/lib/vireo/tpm', uuid);
  /** What both keep, by hash. */
  const kept = () => ({
    variables: hashOf(nvram),
    keys: Object.fromEntries(
      (existsSync(tpm()) ? readdirSync(tpm()) : [])
        .filter((file) => !file.startsWith('.'))
        .map((file) => [file, hashOf(join(tpm(), file))]),
    ),
  });
  /** As if the firmware had been set up in another way, and the TPM had been cleared. */
  const spoil = () => {
    writeFileSync(nvram, Buffer.alloc(540_672, 'other'));
    for (const file of readdirSync(tpm())) if (!file.startsWith('.')) rmSync(join(tpm(), file));
    writeFileSync(join(tpm(), 'of-later'), 'other');
  };
  const stateOf = async () => (await client.call('domain.get', { domain: name })).state;
  const besides = () =>
    readdirSync(join(daemon.root, 'var/lib/vireo/snapshots', uuid)).filter((file) => !file.endsWith('.json'));

  /** The guest goes on from one of these steps: with the memory, the disk and the TPM of that moment. */
  async function expectGoesOnFrom(known: readonly Step[]): Promise<void> {
    const after = await guests.next(name);
    expect(known.findLast(({ step }) => step === after.step - 1)?.is).toBe(after.was);
    expect(Number.parseInt(after.tpm ?? '', 16)).toBe(after.step - 1);
    // A register is extended at each step: it has the value that it had at this one the first time.
    const before = known.findLast(({ step }) => step === after.step);
    if (before !== undefined) expect(after.pcr).toBe(before.pcr);
  }

  it('from before the first boot: there were no variables and no keys, and there are none again', async () => {
    virsh('snapshot-create-as', name, 'new');
    expect(existsSync(nvram)).toBe(false);
    await client.call('domain.start', { domain: name });
    await guests.next(name, 240_000);
    await guests.next(name);
    expect(Object.keys(kept().keys)).not.toEqual([]);
  }, 300_000);

  it('inside the images: the same QEMU and the same swtpm go back, registers too', async () => {
    await client.call('snapshot.create', { domain: name, name: 'live' });
    await guests.next(name);
    const known = guests.steps(name);
    await client.call('snapshot.revert', { domain: name, snapshot: 'live' });
    await expectGoesOnFrom(known);
  });

  it('are brought back into a new QEMU, whatever is in the files meanwhile', async () => {
    const known = guests.steps(name);
    const { variables } = kept();
    await client.call('domain.destroy', { domain: name });
    const off = kept();
    spoil();
    virsh('snapshot-revert', name, 'live');
    await expectGoesOnFrom(known);
    await eventually('QEMU has written the variables', () => kept().variables === variables);
    expect(Object.keys(kept().keys)).toEqual(Object.keys(off.keys).concat('of-later').toSorted());
    // A guest that stands still and is ended has never gone on by itself.
    writeFileSync(nvram, Buffer.alloc(540_672, 'other'));
    await client.call('snapshot.revert', { domain: name, snapshot: 'live', state: 'paused' });
    expect(await stateOf()).toBe('paused');
    expect(kept().variables).toBe(variables);
    await client.call('domain.resume', { domain: name });
    await expectGoesOnFrom(known);
  });

  it('with the memory in a file: both are in that file', async () => {
    virsh('snapshot-create-as', name, 'file', '--memspec', `${guests.path('memory')},snapshot=external`);
    const { variables } = kept();
    await guests.next(name);
    const known = guests.steps(name);
    await client.call('domain.destroy', { domain: name });
    spoil();
    virsh('snapshot-revert', name, 'file', '--paused');
    expect(await stateOf()).toBe('paused');
    await client.call('domain.destroy', { domain: name });
    expect(kept().variables).toBe(variables);
    spoil();
    virsh('snapshot-revert', name, 'file');
    await expectGoesOnFrom(known);
    await eventually('QEMU has written the variables', () => kept().variables === variables);
  });

  it('of the disks alone: both are copied while the guest stands still, and it goes on', async () => {
    const before = guests.steps(name).at(-1)?.step ?? 0;
    vireo('snapshot', 'create', name, 'disks', '--disk-only');
    expect(await stateOf()).toBe('running');
    const { step } = await guests.next(name);
    expect(step).toBeGreaterThan(before);
    // The copy is of a step that the guest has come to at that time.
    const files = besides();
    expect(files.toSorted()).toEqual(
      [
        'disks.nvram',
        'disks.tpm',
        'disks.xml',
        'file.xml',
        'live.xml',
        'new.nvram',
        'new.tpm',
        'new.xml',
      ].toSorted(),
    );
    const copies = join(daemon.root, 'var/lib/vireo/snapshots', uuid);
    const copy = Object.fromEntries(
      readdirSync(join(copies, 'disks.tpm')).map((file) => [file, hashOf(join(copies, 'disks.tpm', file))]),
    );
    await client.call('domain.destroy', { domain: name });
    spoil();
    const plan = await client.call('snapshot.plan', { domain: name, revert: { snapshot: 'disks' } });
    expect(
      plan.changes.filter(({ part }) => part === 'firmware').map(({ path, what }) => [basename(path), what]),
    ).toEqual([
      [basename(nvram), 'changed'],
      [uuid, 'changed'],
    ]);
    virsh('snapshot-revert', name, 'disks');
    expect(kept()).toEqual({ variables: hashOf(join(copies, 'disks.nvram')), keys: copy });
    await expect(
      client.call('snapshot.revert', { domain: name, snapshot: 'live', resetNvram: true }),
    ).rejects.toMatchObject({ code: 'request.invalid' });
  });

  it('go with their copies; the first of all brings back that there was nothing', async () => {
    vireo('snapshot', 'delete', name, 'disks', '--yes');
    expect(besides().filter((file) => file.startsWith('disks'))).toEqual([]);
    virsh('snapshot-revert', name, 'new');
    expect(existsSync(nvram)).toBe(false);
    expect(kept().keys).toEqual({});
    // Its TPM is a new one, and works.
    virsh('undefine', name, '--nvram', '--snapshots-metadata');
    expect(existsSync(tpm())).toBe(false);
    expect(existsSync(join(daemon.root, 'var/lib/vireo/snapshots', uuid))).toBe(false);
  });
});
