/**
 * Snapshots of a guest that writes: what it had on its disk and in its memory is there again after a return, through
 * our own API, the command line and virsh.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import {
  CountingGuests,
  clientsOf,
  countingLinux,
  expectAsPlanned,
  type Step,
} from '../support/counting-guest.ts';
import { qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { expectSchemaValid } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'virsh'], 'snapshots', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let guests: CountingGuests;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    guests = new CountingGuests(daemon.root, await countingLinux(join(daemon.root, 'linux')));
    client = await daemon.connect();
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const { virsh, vireo } = clientsOf(() => daemon);

  const listTagNames = (file: string) =>
    (
      JSON.parse(execFileSync('qemu-img', ['info', '-U', '--output=json', file], { encoding: 'utf8' })) as {
        snapshots?: { name: string }[];
      }
    ).snapshots?.map((one) => one.name) ?? [];
  const names = async (domain: string) =>
    (await client.call('snapshot.list', { domain })).snapshots.map((one) => one.name);

  describe('inside the images', () => {
    const name = 'inner';
    let image: string;
    beforeAll(async () => {
      image = guests.makeImage('inner.qcow2');
      await client.call('domain.define', { xml: guests.domainXml(name, image) });
      await client.call('domain.start', { domain: name });
      await guests.next(name, 100_000);
    });

    it('bring back memory and disk of a running guest, in the same QEMU', async () => {
      const before = await guests.next(name);
      const [pid] = qemuProcesses(daemon.root);
      const made = await client.call('snapshot.create', { domain: name, name: 'one' });
      expect(made).toMatchObject({ name: 'one', state: 'running', memory: 'internal', current: true });
      await guests.expectOnFrom(name, before);
      await guests.next(name);
      const plan = await client.call('snapshot.plan', { domain: name, revert: { snapshot: 'one' } });
      expect(plan).toMatchObject({
        guest: 'in-place',
        changes: [{ path: image, what: 'changed', target: 'vda' }],
      });
      const started = performance.now();
      await client.call('snapshot.revert', { domain: name, snapshot: 'one' });
      process.stderr.write(`revert: ${Math.round(performance.now() - started)} ms\n`);
      await guests.expectOnFrom(name, before);
      expect(qemuProcesses(daemon.root)).toEqual([pid]);
    });

    it('bring it back in a new QEMU when the devices are others', async () => {
      await guests.next(name);
      await client.call('domain.suspend', { domain: name });
      const before = guests.steps(name).at(-1) as Step;
      expect(vireo('snapshot', 'create', name, 'two', '--description', 'second')).toContain("'two' is made");
      await client.call('domain.resume', { domain: name });
      writeFileSync(guests.path('more.img'), Buffer.alloc(1 << 20));
      await client.call('domain.attach-device', {
        domain: name,
        live: true,
        disk: { path: guests.path('more.img'), format: 'raw' },
      });
      const [pid] = qemuProcesses(daemon.root);
      vireo('snapshot', 'revert', name, 'two', '--state', 'running', '--yes');
      await guests.expectOnFrom(name, before);
      expect(qemuProcesses(daemon.root)).not.toEqual([pid]);
      expect((await client.call('domain.xml', { domain: name })).xml).not.toContain('more.img');
    });

    it('are a tree, to virsh too; deleting one gives its children its parent', async () => {
      virsh('snapshot-create-as', name, 'three', '--description', 'by virsh');
      expect(await names(name)).toEqual(['one', 'two', 'three']);
      expect(virsh('snapshot-list', name, '--tree').replace(/\s+/g, ' ')).toBe('one | +- two | +- three');
      expect(virsh('snapshot-current', name, '--name')).toBe('three');
      expect(virsh('snapshot-parent', name, 'three')).toBe('two');
      expect(virsh('snapshot-info', name, 'two')).toMatch(/Children:\s+1\n/);
      expect(vireo('snapshot', 'tree', name)).toContain('└─ three *');
      expectSchemaValid(
        virsh('snapshot-dumpxml', name, 'three'),
        '/usr/share/libvirt/schemas/domainsnapshot.rng',
      );
      virsh('snapshot-delete', name, 'two');
      expect(virsh('snapshot-parent', name, 'three')).toBe('one');
      expect(listTagNames(image)).toEqual(['one', 'three']);
    });

    it('are found again by another daemon, and are made and returned to while the guest is off', async () => {
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect(await names(name)).toEqual(['one', 'three']);
      await client.call('domain.destroy', { domain: name });
      const before = guests.diskHash(image);
      virsh('snapshot-create-as', name, 'off');
      const [root] = (await client.call('snapshot.list', { domain: name })).snapshots;
      expect(root).toMatchObject({ name: 'one', children: ['three'] });
      await client.call('domain.start', { domain: name });
      await guests.next(name, 100_000);
      await guests.next(name);
      await client.call('snapshot.revert', { domain: name, snapshot: 'off' });
      expect(await client.call('domain.get', { domain: name })).toMatchObject({ state: 'shutoff' });
      expect(guests.diskHash(image)).toBe(before);
      // A return to one with memory starts the guest.
      await client.call('snapshot.revert', { domain: name, snapshot: 'three', state: 'running' });
      await guests.next(name);
      expect(() => virsh('undefine', name)).not.toThrow();
      virsh('destroy', name);
    });

    it('stand in the way of forgetting a domain that is off, unless they may be forgotten', async () => {
      const other = guests.makeImage('other.qcow2', 1);
      await client.call('domain.define', { xml: guests.domainXml('other', other) });
      virsh('snapshot-create-as', 'other', 'a');
      virsh('snapshot-create-as', 'other', 'b');
      expect(() => virsh('undefine', 'other')).toThrow(/cannot delete inactive domain with 2 snapshots/);
      virsh('snapshot-delete', 'other', 'a', '--children');
      expect(await names('other')).toEqual([]);
      expect(listTagNames(other)).toEqual([]);
      virsh('snapshot-create-as', 'other', 'c');
      // A deleted one's new image stays in use below a state that is in the old one, until the disk is back in that.
      virsh('snapshot-create-as', 'other', 'd', '--disk-only');
      virsh('snapshot-delete', 'other', 'd');
      expect(existsSync(guests.path('other.d'))).toBe(true);
      const { changes } = await client.call('snapshot.plan', { domain: 'other', revert: { snapshot: 'c' } });
      expect(changes).toContainEqual(
        expect.objectContaining({ path: guests.path('other.d'), what: 'removed' }),
      );
      virsh('snapshot-revert', 'other', 'c');
      expect(existsSync(guests.path('other.d'))).toBe(false);
      virsh('undefine', 'other', '--snapshots-metadata');
      expect(existsSync(guests.path('var/lib/vireo/snapshots/other'))).toBe(false);
      expect(listTagNames(other)).toEqual(['c']);
    });

    it('are returned to in a later run too, whose sockets are other ones', async () => {
      const domain = 'sockets';
      const xml = guests.domainXml(domain, guests.makeImage('sockets.qcow2', 1), {
        devices: `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
          <graphics type='vnc'><listen type='socket'/></graphics>`,
      });
      await client.call('domain.define', { xml });
      await client.call('domain.start', { domain });
      await client.call('snapshot.create', { domain, name: 'run' });
      await client.call('domain.destroy', { domain });
      await client.call('domain.start', { domain });
      const plan = await client.call('snapshot.plan', { domain, revert: { snapshot: 'run' } });
      expect(plan.guest).toBe('in-place');
      await client.call('domain.destroy', { domain });
      await client.call('snapshot.revert', { domain, snapshot: 'run' });
      expect(await client.call('domain.get', { domain })).toMatchObject({ state: 'running' });
      const channel = /<channel type='unix'>\s*<source mode='bind' path='([^']+)'/;
      const now = channel.exec((await client.call('domain.xml', { domain })).xml)?.[1] ?? '';
      expect(existsSync(now)).toBe(true);
      await client.call('domain.destroy', { domain });
    });
  });

  describe('in new images on top', () => {
    const name = 'outer';
    let image: string;
    beforeAll(async () => {
      image = guests.makeImage('outer.qcow2');
      await client.call('domain.define', { xml: guests.domainXml(name, image) });
      await client.call('domain.start', { domain: name });
      await guests.next(name, 100_000);
    });

    it('keep what was on the disk, while the guest goes on in the new one, after a crash of the daemon too', async () => {
      virsh('snapshot-create-as', name, 's1', '--disk-only');
      const top = guests.path('outer.s1');
      expect(existsSync(top)).toBe(true);
      const kept = guests.diskHash(image);
      await guests.next(name);
      await guests.next(name);
      expect(guests.diskHash(image)).toBe(kept);
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      for (const inactive of [false, true]) {
        const { xml } = await client.call('domain.xml', { domain: name, inactive });
        expect(xml).toContain(`<source file='${top}'`);
      }
      await client.call('snapshot.create', { domain: name, name: 's2', diskOnly: true });
      expect(virsh('snapshot-list', name, '--tree').replace(/\s+/g, ' ')).toBe('s1 | +- s2');
      await guests.next(name);
      await client.call('domain.destroy', { domain: name });
      expect(guests.diskHash(image)).toBe(kept);
    });

    it('are returned to, which libvirt 9 refuses; the other branch stays', async () => {
      const kept = guests.diskHash(image);
      const second = guests.diskHash(guests.path('outer.s1'));
      const plan = await client.call('snapshot.plan', { domain: name, revert: { snapshot: 's1' } });
      expect(plan).toMatchObject({ guest: 'off', losses: ['what is on vda and in no snapshot'] });
      await expectAsPlanned(daemon.root, plan, () => virsh('snapshot-revert', name, 's1'));
      const { xml } = await client.call('domain.xml', { domain: name });
      const branch = /<source file='([^']+)'/.exec(xml)?.[1] ?? '';
      expect(guests.diskHash(branch)).toBe(kept);
      // What came after the second one was in no snapshot.
      expect(existsSync(guests.path('outer.s2'))).toBe(false);
      virsh('snapshot-revert', name, 's2');
      expect(existsSync(branch)).toBe(false);
      const now =
        /<source file='([^']+)'/.exec((await client.call('domain.xml', { domain: name })).xml)?.[1] ?? '';
      expect(guests.diskHash(now)).toBe(second);
    });

    it('are merged one after the other while the guest stands still, if QEMU has let go of the one before', async () => {
      const domain = 'still';
      await client.call('domain.define', {
        xml: guests.domainXml(domain, guests.makeImage('still.qcow2', 1)),
      });
      await client.call('domain.start', { domain });
      for (const one of ['p1', 'p2', 'p3'])
        await client.call('snapshot.create', { domain, name: one, diskOnly: true });
      await client.call('domain.destroy', { domain });
      await client.call('domain.start', { domain });
      await client.call('domain.suspend', { domain });
      await client.call('snapshot.delete', { domain, snapshot: 'p2' });
      const again = () => client.call('snapshot.delete', { domain, snapshot: 'p1' });
      await again().catch(async (error: unknown) => {
        expect(error).toMatchObject({
          code: 'domain.state',
          reason: expect.stringMatching(/only while the guest runs/),
        });
        await client.call('domain.resume', { domain });
        await again();
      });
      expect(await names(domain)).toEqual(['p3']);
      expect(existsSync(guests.path('still.p1'))).toBe(false);
      await client.call('domain.destroy', { domain });
    });

    it('are merged when they are deleted; no image that something needs is lost', async () => {
      const second = guests.diskHash(guests.path('outer.s1'));
      const plan = await client.call('snapshot.plan', { domain: name, delete: { snapshot: 's1' } });
      expect(plan.children).toEqual([{ name: 's2', parent: null }]);
      await expectAsPlanned(daemon.root, plan, () => virsh('snapshot-delete', name, 's1'));
      const tree = await client.call('snapshot.list', { domain: name });
      expect(tree.snapshots.map((one) => one.name)).toEqual(['s2']);
      // What lay on the first image is in it, and the second snapshot is of that.
      expect(existsSync(guests.path('outer.s1'))).toBe(false);
      expect(guests.diskHash(image)).toBe(second);
      virsh('snapshot-delete', name, 's2');
      expect((await client.call('domain.xml', { domain: name })).xml).toContain(`<source file='${image}'`);
      expect(guests.diskHash(image)).toBe(second);
      await client.call('domain.start', { domain: name });
      expect((await guests.next(name, 100_000)).was).toBe(second);
      await client.call('domain.destroy', { domain: name });
    });
  });
});
