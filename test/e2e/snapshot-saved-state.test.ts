/** Snapshots of a domain that has a managed save: what would put that on other disks is refused, or gives it up by force. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { clientsOf } from '../support/counting-guest.ts';
import { TestDaemon } from '../support/daemon.ts';
import { bootSector, writeImage } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'virsh'], 'snapshots beside a managed save', () => {
  const name = 'kept';
  let daemon: TestDaemon;
  let client: VireoClient;
  const { virsh, vireo } = clientsOf(() => daemon);

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    const image = join(daemon.root, 'kept.qcow2');
    writeImage(join(daemon.root, 'raw'), bootSector.writes);
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', join(daemon.root, 'raw'), image]);
    const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>32</memory>
      <os><type machine='pc'>hvm</type></os><devices><disk type='file'><driver name='qemu' type='qcow2'/>
      <source file='${image}'/><target dev='hda' bus='ide'/></disk><serial type='null'/></devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('snapshot.create', { domain: name, name: 'off' });
    await client.call('snapshot.create', { domain: name, name: 'outside', diskOnly: true });
    await client.call('domain.start', { domain: name });
    await save();
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const save = () => client.call('domain.managed-save', { domain: name });
  const isSaved = () => virsh('dominfo', name).includes('Managed save:   yes');

  it('refuses a return that would lose it, and whatever takes its images away', async () => {
    await expect(client.call('snapshot.revert', { domain: name, snapshot: 'off' })).rejects.toMatchObject({
      code: 'snapshot.risky',
    });
    expect(() => virsh('snapshot-revert', name, 'off')).toThrow(/revert requires force/);
    const refused = { code: 'saved-state.exists' };
    await expect(
      client.call('snapshot.create', { domain: name, name: 'more', diskOnly: true }),
    ).rejects.toMatchObject(refused);
    await expect(client.call('snapshot.delete', { domain: name, snapshot: 'outside' })).rejects.toMatchObject(
      refused,
    );
    await expect(
      client.call('snapshot.plan', { domain: name, delete: { snapshot: 'outside' } }),
    ).rejects.toMatchObject(refused);
    expect(isSaved()).toBe(true);
    // It is whole, and the domain goes on from it.
    await client.call('domain.start', { domain: name });
    expect(await client.call('domain.get', { domain: name })).toMatchObject({ state: 'running' });
    expect(isSaved()).toBe(false);
    await save();
  });

  it('is told of by a plan, and given up where that is forced', async () => {
    const plan = await client.call('snapshot.plan', {
      domain: name,
      revert: { snapshot: 'off', force: true },
    });
    expect(plan.losses).toContain('the saved state of the guest');
    vireo('snapshot', 'revert', name, 'off', '--force', '--yes');
    expect(isSaved()).toBe(false);
    expect(await client.call('domain.get', { domain: name })).toMatchObject({ state: 'shutoff' });
    await client.call('domain.start', { domain: name });
    await client.call('snapshot.create', { domain: name, name: 'on' });
    await save();
    // One with memory would leave a saved state behind that goes with other disks.
    expect(() => virsh('snapshot-revert', name, 'on')).toThrow(/revert requires force/);
    virsh('snapshot-revert', name, 'on', '--force');
    expect(await client.call('domain.get', { domain: name })).toMatchObject({ state: 'running' });
    expect(isSaved()).toBe(false);
  });
});
