/** Network filters and their bindings over libvirt's protocol, on the real service with taps that are nowhere. */
import { describe, expect, it } from 'vitest';
import { buildHandlerTable } from '../../../src/daemon/frontends/libvirt/handlers/table.ts';
import { builtInFilterNames } from '../../../src/model/nwfilter/built-in.ts';
import { nicOf } from '../../support/nic.ts';
import { startRig } from './rig.ts';

const MAC = '52:54:00:00:00:01';
const UUID = '1b2c3d4e-0000-4000-8000-000000000001';
const filterXml = (inside = '') =>
  `<filter name='mine'><uuid>${UUID}</uuid><rule action='drop' direction='in'/>${inside}</filter>`;

const card = {
  domain: { uuid: UUID, name: 'web' },
  index: 0,
  nic: nicOf("<source network='lab'/><filterref filter='mine'/>", 'network', MAC),
  device: 'vnet7',
};

async function open(cards = [] as (typeof card)[]) {
  const rig = await startRig({ cards });
  return { rig, client: await rig.open() };
}

describe('network filters', () => {
  it('are listed, built-in ones too, and found by name and uuid', async () => {
    const { client } = await open();
    const count = builtInFilterNames.length;
    expect(await client.call('connectNumOfNwfilters', undefined)).toEqual({ num: count });
    const { nwfilter } = await client.call('nwfilterDefineXml', { xml: filterXml() });
    expect(nwfilter).toEqual({ name: 'mine', uuid: UUID });
    const { names } = await client.call('connectListNwfilters', { maxnames: 1000 });
    expect(names).toEqual([...builtInFilterNames, 'mine'].sort());
    expect((await client.call('connectListNwfilters', { maxnames: 2 })).names).toHaveLength(2);
    const { filters, ret } = await client.call('connectListAllNwfilters', { needResults: 1, flags: 0 });
    expect(filters).toContainEqual(nwfilter);
    expect(ret).toBe(count + 1);
    expect(await client.call('connectListAllNwfilters', { needResults: 0, flags: 0 })).toEqual({
      filters: [],
      ret,
    });
    await expect(client.call('connectListAllNwfilters', { needResults: 1, flags: 1 })).rejects.toThrow(
      /unsupported flags/,
    );
    expect(await client.call('nwfilterLookupByName', { name: 'mine' })).toEqual({ nwfilter });
    expect(await client.call('nwfilterLookupByUuid', { uuid: UUID })).toEqual({ nwfilter });
    await expect(client.call('nwfilterLookupByName', { name: UUID })).rejects.toThrow(
      `62: Network filter not found: no nwfilter with matching name '${UUID}'`,
    );
  });

  it('are defined, validated when that is asked, shown and forgotten; readers only look', async () => {
    const { client, rig } = await open();
    const define = (xml: string, flags: number) => client.call('nwfilterDefineXmlFlags', { xml, flags });
    const { nwfilter } = await define(filterXml(), 1);
    const odd = filterXml('<odd/>');
    await expect(define(odd, 1)).rejects.toThrow(/odd/);
    expect(await define(odd, 0)).toEqual({ nwfilter });
    await expect(define(filterXml(), 2)).rejects.toThrow(/unsupported flags \(0x2\)/);
    const { xml } = await client.call('nwfilterGetXmlDesc', { nwfilter, flags: 0 });
    expect(xml).toContain(`<uuid>${UUID}</uuid>`);
    const reader = await rig.open(1);
    expect((await reader.call('nwfilterGetXmlDesc', { nwfilter, flags: 0 })).xml).toBe(xml);
    await expect(reader.call('nwfilterUndefine', { nwfilter })).rejects.toThrow(/^29: .*read only/);
    await client.call('nwfilterUndefine', { nwfilter });
    await expect(client.call('nwfilterUndefine', { nwfilter })).rejects.toThrow(
      `62: Network filter not found: no nwfilter with matching uuid '${UUID}'`,
    );
    const built = await client.call('nwfilterLookupByName', { name: 'clean-traffic' });
    await expect(client.call('nwfilterUndefine', built)).rejects.toThrow(/^55: .*comes with Vireo/);
  });

  it('are bound to the taps of guests, and stay while they are', async () => {
    const { client } = await open([card]);
    const { nwfilter: filter } = await client.call('nwfilterDefineXml', { xml: filterXml() });
    const binding = { portdev: 'vnet7', filtername: 'mine' };
    expect(await client.call('connectListAllNwfilterBindings', { needResults: 1, flags: 0 })).toEqual({
      bindings: [binding],
      ret: 1,
    });
    expect(await client.call('nwfilterBindingLookupByPortDev', { name: 'vnet7' })).toEqual({
      nwfilter: binding,
    });
    const { xml } = await client.call('nwfilterBindingGetXmlDesc', { nwfilter: binding, flags: 0 });
    expect(xml).toContain("<portdev name='vnet7'/>");
    expect(xml).toContain(MAC);
    await expect(client.call('nwfilterBindingLookupByPortDev', { name: 'vnet8' })).rejects.toThrow(
      "101: Network filter binding not found: no nwfilter binding for port dev 'vnet8'",
    );
    await expect(client.call('nwfilterBindingDelete', { nwfilter: binding })).rejects.toThrow(/^84:/);
    await expect(client.call('nwfilterUndefine', { nwfilter: filter })).rejects.toThrow(/^55: .*'web'/);
  });

  it('are none in a session, which says so when they are changed', async () => {
    const { rig } = await open();
    const table = buildHandlerTable({ ...rig.engine, nwfilters: undefined });
    const run = async (name: string, args?: unknown) =>
      (table.find('remote', name) as (args: unknown, call: unknown) => unknown)(args, { name });
    expect(await run('connectNumOfNwfilters')).toEqual({ num: 0 });
    expect(await run('connectListAllNwfilterBindings', { needResults: 1, flags: 0 })).toMatchObject({
      ret: 0,
    });
    await expect(run('nwfilterLookupByName', { name: 'clean-traffic' })).rejects.toThrow(/no nwfilter/);
    await expect(run('nwfilterDefineXml', { xml: filterXml() })).rejects.toMatchObject({
      code: 'network.session',
    });
  });
});
