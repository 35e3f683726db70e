/** Secrets over libvirt's protocol, on the real service and real files. */
import { describe, expect, it } from 'vitest';
import { nextEvent, startRig } from './rig.ts';

const UUID = '1b2c3d4e-0000-4000-8000-000000000001';
const ceph = `<secret><uuid>${UUID}</uuid><usage type='ceph'><name>client.admin</name></usage></secret>`;
const bare = "<secret ephemeral='yes' private='yes'/>";
const wire = { uuid: UUID, usageType: 2, usageId: 'client.admin' };

async function open() {
  const rig = await startRig();
  await rig.engine.secrets.open();
  const client = await rig.open();
  const define = async (xml: string, flags = 0) =>
    (await client.call('secretDefineXml', { xml, flags })).secret;
  return { rig, client, define };
}

describe('secrets', () => {
  it('are listed by every filter, as a count when that is asked, and by the old calls', async () => {
    const { client, define } = await open();
    expect(await define(ceph)).toEqual(wire);
    const other = await define(bare);
    expect(other).toMatchObject({ usageType: 0, usageId: '' });
    const uuids = async (flags: number) =>
      (await client.call('connectListAllSecrets', { needResults: 1, flags })).secrets
        .map(({ uuid }) => uuid)
        .sort();
    const both = [UUID, other.uuid].sort();
    expect(await uuids(0)).toEqual(both);
    expect(await uuids(3)).toEqual(both);
    expect(await uuids(1)).toEqual([other.uuid]);
    expect(await uuids(2)).toEqual([UUID]);
    expect(await uuids(4)).toEqual([other.uuid]);
    expect(await uuids(8)).toEqual([UUID]);
    expect(await uuids(1 | 8)).toEqual([]);
    await expect(uuids(16)).rejects.toThrow(/unsupported flags \(0x10\)/);
    expect(await client.call('connectListAllSecrets', { needResults: 0, flags: 0 })).toEqual({
      secrets: [],
      ret: 2,
    });
    expect(await client.call('connectNumOfSecrets', undefined)).toEqual({ num: 2 });
    expect((await client.call('connectListSecrets', { maxuuids: 1 })).uuids).toHaveLength(1);
  });

  it('are found by uuid and use, redefined and forgotten', async () => {
    const { client, define } = await open();
    await define(ceph);
    const found = { secret: wire };
    expect(await client.call('secretLookupByUuid', { uuid: UUID })).toEqual(found);
    const byUse = (usageType: number, usageId: string) =>
      client.call('secretLookupByUsage', { usageType, usageId });
    expect(await byUse(2, 'client.admin')).toEqual(found);
    for (const type of [0, 1, 9, -1])
      await expect(byUse(type, 'client.admin')).rejects.toThrow(
        "66: Secret not found: no secret with matching usage 'client.admin'",
      );
    const described = ceph.replace('<usage', '<description>of the cluster</description><usage');
    await define(described, 1);
    const { xml } = await client.call('secretGetXmlDesc', { secret: wire, flags: 0 });
    expect(xml).toContain('of the cluster');
    await expect(define(ceph.replace('<usage', '<other/><usage'), 1)).rejects.toThrow(/other/);
    await client.call('secretUndefine', { secret: wire });
    await expect(client.call('secretLookupByUuid', { uuid: UUID })).rejects.toThrow(
      `66: Secret not found: no secret with matching uuid '${UUID}'`,
    );
    await expect(client.call('secretUndefine', { secret: wire })).rejects.toThrow(/^66:/);
  });

  it("are for volumes by any name: OpenStack's are ids, not paths", async () => {
    const { client, define } = await open();
    const usageId = '5f3c1c8e-7a52-4d6c-9a5e-0d0c8a1f2b3c';
    await define(`<secret><usage type='volume'><volume>${usageId}</volume></usage></secret>`);
    const { secret } = await client.call('secretLookupByUsage', { usageType: 1, usageId });
    expect(secret).toMatchObject({ usageType: 1, usageId });
  });

  it('keep values, which readers and, of private ones, nobody can see', async () => {
    const { client, define, rig } = await open();
    await define(ceph);
    const get = { secret: wire, flags: 0 };
    await expect(client.call('secretGetValue', get)).rejects.toThrow(/^66: .*has no value/);
    const value = Buffer.from([0, 1, 255, 65]);
    await client.call('secretSetValue', { ...get, value });
    expect(Buffer.from((await client.call('secretGetValue', get)).value)).toEqual(value);
    const reader = await rig.open(1);
    expect(await reader.call('secretLookupByUuid', { uuid: UUID })).toEqual({ secret: wire });
    expect((await reader.call('secretGetXmlDesc', get)).xml).toContain('client.admin');
    for (const refused of [
      reader.call('secretGetValue', get),
      reader.call('secretSetValue', { ...get, value }),
      reader.call('secretUndefine', { secret: wire }),
      reader.call('secretDefineXml', { xml: ceph, flags: 0 }),
    ])
      await expect(refused).rejects.toThrow(/^29: .*read only access prevents virSecret/);
    const hidden = await define(bare);
    await client.call('secretSetValue', { secret: hidden, value, flags: 0 });
    await expect(client.call('secretGetValue', { secret: hidden, flags: 0 })).rejects.toMatchObject({
      body: { code: 65, domain: 30, message: expect.stringMatching(/^Invalid secret: .*private/) },
    });
  });

  it('send events of definitions and values', async () => {
    const { client, define } = await open();
    const register = async (eventId: number) =>
      (await client.call('connectSecretEventRegisterAny', { eventId, secret: null })).callbackId;
    const [lifecycle, values] = [await register(0), await register(1)];
    await define(ceph);
    const told = { secret: wire, detail: 0, callbackId: lifecycle };
    expect(await nextEvent(client, 'secretEventLifecycle')).toEqual({ ...told, event: 0 });
    await client.call('secretSetValue', { secret: wire, value: Buffer.from('x'), flags: 0 });
    expect(await nextEvent(client, 'secretEventValueChanged')).toEqual({ callbackId: values, secret: wire });
    await client.call('secretUndefine', { secret: wire });
    expect(await nextEvent(client, 'secretEventLifecycle')).toEqual({ ...told, event: 1 });
  });
});
