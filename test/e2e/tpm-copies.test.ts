/**
 * What becomes of a TPM's keys: a backup holds them as of the moment of the disks and brings them back, a clone gets a TPM of
 * its own unless the keys are asked for. The guest tells what its disk and its TPM hold.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { CountingGuests, clientsOf, countingLinux, type Step } from '../support/counting-guest.ts';
import { TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const needs = ['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'swtpm'];

describeWith(needs, 'the keys in a TPM', () => {
  const name = 'keyed';
  let daemon: TestDaemon;
  let client: VireoClient;
  let guests: CountingGuests;
  let backup: string;
  const { vireo } = clientsOf(() => daemon);

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    guests = new CountingGuests(daemon.root, await countingLinux(`${daemon.root}/linux`));
    client = await daemon.connect();
    const devices = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
    mkdirSync(guests.path('images'));
    const image = guests.makeImage(`images/${name}.qcow2`);
    await client.call('domain.define', { xml: guests.domainXml(name, image, { devices }) });
    await client.call('domain.start', { domain: name });
    // The keys of the first step are told by the second.
    await guests.next(name, 240_000);
    await guests.next(name);
  }, 350_000);
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const uuidOf = async (domain: string) =>
    /<uuid>([^<]+)</.exec((await client.call('domain.xml', { domain })).xml)?.[1] ?? '';
  const stateOf = async (domain: string) => join(daemon.root, 'var/lib/vireo/tpm', await uuidOf(domain));
  /** The files of a state, by hash. */
  const keys = (directory: string) =>
    Object.fromEntries(
      (existsSync(directory) ? readdirSync(directory) : [])
        .filter((file) => !file.startsWith('.'))
        .map((file) => [
          file,
          createHash('sha256')
            .update(readFileSync(join(directory, file)))
            .digest('hex'),
        ]),
    );
  /** Disk and TPM of that first step are those of one earlier step; the guest may have been between the two writes. */
  const expectOfOneMoment = (first: Step, known: readonly Step[]) => {
    const at = known.findLast(({ is }) => is === first.was)?.step ?? Number.NaN;
    expect([at - 1, at]).toContain(Number.parseInt(first.tpm ?? '', 16));
  };

  it('are in a backup, of the moment of its disks, while the guest goes on', async () => {
    const made = await client.call('backup.create', { domain: name, directory: guests.path('store') });
    backup = made.path;
    expect((await client.call('domain.get', { domain: name })).state).toBe('running');
    await guests.next(name);
    expect(vireo('backup', 'verify', backup)).toMatch(/It is good/);
    expect(Object.keys(keys(join(backup, 'tpm')))).toEqual(['tpm2-00.permall']);
    await client.call('domain.destroy', { domain: name });
    expect(keys(join(backup, 'tpm'))).not.toEqual(keys(await stateOf(name)));
  });

  it('come back with the domain itself', async () => {
    const state = await stateOf(name);
    writeFileSync(join(state, 'of-later'), 'other');
    await client.call('backup.restore', { path: backup, over: true });
    expect(keys(state)).toEqual(keys(join(backup, 'tpm')));
  });

  it('come back with a copy of another name, whose guest has them', async () => {
    const known = guests.steps(name);
    await client.call('backup.restore', { path: backup, name: 'again', directory: guests.path('again') });
    await client.call('domain.start', { domain: 'again' });
    // Its log is that of the first one: it is the same description.
    expectOfOneMoment(await guests.next(name, 240_000), known);
    await client.call('domain.destroy', { domain: 'again' });
  }, 300_000);

  it('of a backup that was tampered with are not put in place', async () => {
    const file = join(backup, 'tpm/tpm2-00.permall');
    const bytes = readFileSync(file);
    writeFileSync(file, 'other keys');
    await expect(client.call('backup.restore', { path: backup, over: true })).rejects.toMatchObject({
      code: 'backup.damaged',
      reason: expect.stringContaining(file) as string,
    });
    writeFileSync(file, bytes);
  });

  it('stay with the source of a clone, unless they are asked for', async () => {
    await client.call('pool.create', { name: 'images', path: guests.path('images'), start: true });
    const fresh = await client.call('domain.clone', { domain: name, name: 'fresh' });
    expect(fresh.warnings).toEqual([expect.stringMatching(/TPM starts empty/)]);
    expect(existsSync(await stateOf('fresh'))).toBe(false);
    expect(vireo('domain', 'clone', '--keep-tpm', name, 'twin')).toMatch(/'twin' is a clone/);
    expect(keys(await stateOf('twin'))).toEqual(keys(await stateOf(name)));
    const gone = await stateOf('twin');
    await client.call('domain.undefine', { domain: 'twin' });
    expect(existsSync(gone)).toBe(false);
    // Nothing of one that came to nothing.
    const states = () => readdirSync(join(daemon.root, 'var/lib/vireo/tpm'));
    const before = states();
    const taken = { domain: name, name: 'fresh', tpm: 'copy' } as const;
    await expect(client.call('domain.clone', taken)).rejects.toMatchObject({ code: 'domain.exists' });
    expect(states()).toEqual(before);
  });
});
