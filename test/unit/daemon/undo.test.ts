/** Deletions that are taken back: definitions with what belongs to them, in time, and not over what is there. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const DAY_MS = 24 * 3600 * 1000;

async function rig() {
  const daemon = await startDaemon();
  const client = await daemon.connect();
  const files = (path: string) => {
    const at = join(daemon.directory, path);
    return existsSync(at) ? readdirSync(at) : [];
  };
  return { ...daemon, client, files };
}

/** A domain with firmware variables. */
const uefi = (name: string, path: string) => xml(name, '', `<nvram>${path}</nvram>`);

describe('a deleted domain', () => {
  it('comes back with uuid, autostart, variables, TPM and saved state', async () => {
    const { client, directory, domains } = await rig();
    const nvram = join(directory, 'web_VARS.fd');
    writeFileSync(nvram, 'boot entries', { mode: 0o600 });
    const { domain } = await client.call('domain.define', { xml: uefi('web', nvram) });
    await client.call('domain.set-autostart', { domain: 'web', autostart: true });
    const tpm = join(directory, 'tpm', domain.uuid, 'tpm2');
    mkdirSync(tpm, { recursive: true });
    writeFileSync(join(tpm, 'tpm2-00.permall'), 'keys', { mode: 0o640 });
    mkdirSync(join(directory, 'saves'), { recursive: true });
    writeFileSync(join(directory, 'saves', `${domain.uuid}.save`), 'memory');
    domains.noteFiles(domains.find({ uuid: domain.uuid }));

    const gone = await client.call('domain.undefine', {
      domain: 'web',
      nvram: 'remove',
      managedSave: 'remove',
    });
    expect(gone.undo).toMatchObject({ type: 'domain', name: 'web', uuid: domain.uuid });
    expect(existsSync(nvram)).toBe(false);
    expect(existsSync(join(directory, 'saves', `${domain.uuid}.save`))).toBe(false);

    expect((await client.call('undo.restore', {})).restored).toMatchObject({ name: 'web' });
    expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({
      uuid: domain.uuid,
      autostart: true,
      saved: true,
    });
    expect(readFileSync(nvram, 'utf8')).toBe('boot entries');
    expect(statSync(nvram).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(tpm, 'tpm2-00.permall'), 'utf8')).toBe('keys');
    expect((await client.call('undo.list', {})).deletions).toEqual([]);
  });

  it('comes back with its snapshots, the current one too', async () => {
    const { client, domains } = await rig();
    await client.call('domain.define', { xml: xml('web') });
    for (const [name, parent] of [
      ['one', ''],
      ['two', '<parent><name>one</name></parent>'],
    ]) {
      const document = `<domainsnapshot><name>${name}</name><state>shutoff</state><creationTime>1</creationTime>${parent}</domainsnapshot>`;
      const options = { mode: 'strict', makeCurrent: true } as const;
      await domains.snapshots.define(domains.findByText('web'), document, options);
    }
    const before = await client.call('snapshot.list', { domain: 'web' });
    await client.call('domain.undefine', { domain: 'web', forgetSnapshots: true });
    await client.call('undo.restore', { entry: 'web' });
    expect(await client.call('snapshot.list', { domain: 'web' })).toEqual(before);
  });

  it('leaves no record when the deletion is refused', async () => {
    const { client, directory, files } = await rig();
    const nvram = join(directory, 'web_VARS.fd');
    writeFileSync(nvram, '');
    await client.call('domain.define', { xml: uefi('web', nvram) });
    await expect(client.call('domain.undefine', { domain: 'web' })).rejects.toMatchObject({
      code: 'operation.failed',
    });
    expect(files('undo')).toEqual([]);
  });

  it('does not take the place of a new one', async () => {
    const { client } = await rig();
    await client.call('domain.define', { xml: xml('web') });
    await client.call('domain.undefine', { domain: 'web' });
    await client.call('domain.define', { xml: xml('web') });
    await expect(client.call('undo.restore', { entry: 'web' })).rejects.toMatchObject({
      code: 'domain.exists',
      hint: expect.stringContaining('vireo domain rename web'),
    });
    await client.call('domain.rename', { domain: 'web', name: 'other' });
    await client.call('undo.restore', { entry: 'web' });
    expect((await client.call('domain.list', {})).domains.map(({ name }) => name)).toEqual(['other', 'web']);
  });

  it('makes a guest that runs on a stored one again', async () => {
    const { client } = await rig();
    await client.call('domain.define', { xml: xml('web') });
    await client.call('domain.start', { domain: 'web' });
    await client.call('domain.undefine', { domain: 'web' });
    expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({ persistent: false });
    await client.call('undo.restore', {});
    expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({
      persistent: true,
      active: true,
    });
  });

  it('is gone for good when its time is over, or when that is said', async () => {
    const { client, undo, files } = await rig();
    for (const name of ['a', 'b', 'c']) {
      await client.call('domain.define', { xml: xml(name) });
      await client.call('domain.undefine', { domain: name });
    }
    await undo.purge(Date.now() + 6 * DAY_MS);
    const { deletions } = await client.call('undo.list', { type: 'domain' });
    expect(deletions.map(({ name }) => name)).toEqual(['c', 'b', 'a']);
    const { forgotten } = await client.call('undo.forget', { entry: 'b' });
    expect(forgotten).toMatchObject([{ name: 'b' }]);
    await undo.purge(Date.now() + 7 * DAY_MS + 1000);
    expect(files('undo')).toEqual([]);
    await expect(client.call('undo.restore', {})).rejects.toMatchObject({
      code: 'operation.failed',
      message: expect.stringContaining('nothing was deleted'),
    });
  });
});

describe('a deleted pool or volume', () => {
  it('comes back by the same verb', async () => {
    const { client, directory } = await rig();
    const path = join(directory, 'place');
    mkdirSync(path);
    await client.call('pool.create', { name: 'p', path, autostart: false });
    await client.call('pool.start', { pool: 'p' });
    await client.call('volume.create', { pool: 'p', name: 'v', capacityBytes: 4096, format: 'raw' });
    await client.call('volume.delete', { pool: 'p', volume: 'v' });
    expect((await client.call('undo.restore', {})).restored).toMatchObject({
      type: 'volume',
      name: 'v',
      pool: 'p',
    });
    await client.call('volume.get', { pool: 'p', volume: 'v' });
    await client.call('pool.stop', { pool: 'p' });
    await client.call('pool.undefine', { pool: 'p' });
    expect((await client.call('undo.restore', { type: 'pool' })).restored).toMatchObject({ name: 'p' });
    expect(await client.call('pool.get', { pool: 'p' })).toMatchObject({ name: 'p', persistent: true });
  });
});
