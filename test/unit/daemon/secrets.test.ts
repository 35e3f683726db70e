/** Secrets: what is kept where, what never leaves, and what two definitions may not have in common. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import { makeSecrets } from '../../support/secrets.ts';

const UUID = '1b2c3d4e-0000-4000-8000-000000000001';
const ceph = (attributes = '', uuid = UUID, name = 'client.admin') =>
  `<secret ${attributes}>${uuid && `<uuid>${uuid}</uuid>`}<usage type='ceph'><name>${name}</name></usage></secret>`;

async function rig() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-secrets-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const events = new EventBus(silentLogger);
  const seen: string[] = [];
  events.subscribe(({ event }) => seen.push(event));
  const open = async () => {
    const secrets = makeSecrets(directory, events);
    await secrets.open();
    return secrets;
  };
  const valueFile = join(directory, 'values', `${UUID}.base64`);
  return { directory, seen, valueFile, open, secrets: await open() };
}

const text = (buffer: Buffer) => buffer.toString('utf8');

describe('a secret', () => {
  it('is there again after a restart, with its value in a file of its own that only the daemon may read', async () => {
    const { secrets, open, valueFile, directory, seen } = await rig();
    await secrets.define(ceph(), 'strict');
    expect(secrets.hasValue(secrets.find({ uuid: UUID }))).toBe(false);
    const value = Buffer.from('open sesame');
    await secrets.setValue({ type: 'ceph', usage: 'client.admin' }, value);
    expect(value.every((byte) => byte === 0)).toBe(true);
    expect(readFileSync(valueFile, 'utf8')).toBe(Buffer.from('open sesame').toString('base64'));
    expect(statSync(valueFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(directory, 'secrets', `${UUID}.xml`), 'utf8')).not.toContain('sesame');
    const again = await open();
    expect(text(again.value({ uuid: UUID.toUpperCase() }))).toBe('open sesame');
    expect(again.list()).toHaveLength(1);
    expect(seen).toEqual(['secret.defined', 'secret.value-changed']);
    await again.undefine({ uuid: UUID });
    expect(existsSync(valueFile)).toBe(false);
    expect((await open()).list()).toEqual([]);
    expect(seen.at(-1)).toBe('secret.undefined');
  });

  it('that is ephemeral leaves nothing on disk, and is gone with the daemon', async () => {
    const { secrets, open, directory } = await rig();
    await secrets.define(ceph("ephemeral='yes'"), 'strict');
    await secrets.setValue({ uuid: UUID }, Buffer.from('short'));
    expect(text(secrets.value({ uuid: UUID }))).toBe('short');
    expect(readdirSync(join(directory, 'secrets'))).toEqual([]);
    expect(readdirSync(join(directory, 'values'))).toEqual([]);
    expect((await open()).list()).toEqual([]);
  });

  it('takes its value along when it becomes ephemeral, and back', async () => {
    const { secrets, valueFile } = await rig();
    await secrets.define(ceph(), 'strict');
    await secrets.setValue({ uuid: UUID }, Buffer.from('moves'));
    await secrets.define(ceph("ephemeral='yes'"), 'strict');
    expect(existsSync(valueFile)).toBe(false);
    expect(text(secrets.value({ uuid: UUID }))).toBe('moves');
    await secrets.define(ceph(), 'strict');
    expect(existsSync(valueFile)).toBe(true);
    expect(text(secrets.value({ uuid: UUID }))).toBe('moves');
  });

  it('that is private serves guests, is shown to nobody, and stays private', async () => {
    const { secrets } = await rig();
    await secrets.define(ceph("private='yes'"), 'strict');
    await secrets.setValue({ uuid: UUID }, Buffer.from('mine'));
    expect(() => secrets.value({ uuid: UUID })).toThrow(expect.objectContaining({ code: 'secret.private' }));
    expect(text(secrets.valueForUse({ uuid: UUID }))).toBe('mine');
    await expect(secrets.define(ceph("private='no'"), 'strict')).rejects.toMatchObject({
      code: 'secret.private',
    });
  });

  it('without value, or that is not there, says so', async () => {
    const { secrets } = await rig();
    await secrets.define(ceph(), 'strict');
    expect(() => secrets.value({ uuid: UUID })).toThrow(expect.objectContaining({ code: 'secret.no-value' }));
    expect(() => secrets.find({ type: 'iscsi', usage: 'client.admin' })).toThrow(
      expect.objectContaining({ code: 'secret.not-found' }),
    );
    await expect(secrets.setValue({ uuid: 'x' }, Buffer.from('a'))).rejects.toMatchObject({
      code: 'secret.not-found',
    });
  });

  it('is the only one for its use', async () => {
    const { secrets } = await rig();
    await secrets.define(ceph(), 'strict');
    const other = '1b2c3d4e-0000-4000-8000-000000000002';
    await expect(secrets.define(ceph('', other), 'strict')).rejects.toMatchObject({ code: 'secret.exists' });
    await expect(secrets.define(ceph('', UUID, 'another'), 'strict')).rejects.toMatchObject({
      code: 'secret.exists',
    });
    const again = await secrets.define(ceph('', ''), 'strict');
    expect(again.secret.uuid).toBe(UUID);
    await expect(secrets.define(ceph('', ''), 'lenient')).rejects.toMatchObject({ code: 'secret.exists' });
    expect(secrets.list()).toHaveLength(1);
  });

  it('may be long, but not endless', async () => {
    const { secrets } = await rig();
    await secrets.define(ceph(), 'strict');
    await secrets.setValue({ uuid: UUID }, Buffer.alloc(65_536, 1));
    await expect(secrets.setValue({ uuid: UUID }, Buffer.alloc(65_537, 1))).rejects.toMatchObject({
      code: 'request.too-large',
    });
    expect(secrets.value({ uuid: UUID })).toHaveLength(65_536);
  });

  it('that was broken on disk is put aside; the others are served, and values without a secret are taken away', async () => {
    const { secrets, open, directory } = await rig();
    await secrets.define(ceph(), 'strict');
    const other = '1b2c3d4e-0000-4000-8000-000000000002';
    await secrets.define(ceph('', other, 'other'), 'strict');
    await secrets.setValue({ uuid: other }, Buffer.from('kept'));
    writeFileSync(join(directory, 'secrets', `${other}.xml`), 'no definition');
    writeFileSync(join(directory, 'values', '1b2c3d4e-0000-4000-8000-000000000009.base64'), 'YQ==');
    const again = await open();
    expect(again.list().map(({ uuid }) => uuid)).toEqual([UUID]);
    expect(again.quarantined).toMatchObject([{ uuid: other }]);
    expect(readdirSync(join(directory, 'values'))).toEqual([`${other}.base64`]);
  });

  it('follows its file when that was edited by hand, and goes on with what it had when the file is broken', async () => {
    const { secrets, directory } = await rig();
    await secrets.define(ceph("private='yes'"), 'strict');
    await secrets.setValue({ uuid: UUID }, Buffer.from('kept'));
    const file = join(directory, 'secrets', `${UUID}.xml`);
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace('<usage', '<description>by hand</description><usage'));
    await secrets.rescan();
    expect(secrets.find({ uuid: UUID }).description).toBe('by hand');
    expect(secrets.valueForUse({ uuid: UUID }).toString()).toBe('kept');
    for (const broken of ['no definition', text.replace("private='yes'", "private='no'")]) {
      writeFileSync(file, broken);
      await secrets.rescan();
      expect(secrets.find({ uuid: UUID })).toMatchObject({ private: true, description: 'by hand' });
      expect(readFileSync(file, 'utf8')).toContain('by hand');
    }
    expect(secrets.quarantined).toHaveLength(2);
  });
});
