/** The network service over a host of plain data: life cycle, updates, what is known of a network, names of guests, port forwards. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { PublishedEvent } from '../../../src/api/index.ts';
import { VirtError } from '../../../src/base/errors.ts';
import { code, define, makeRig, xml } from '../../support/network-rig.ts';
import { nicOf } from '../../support/nic.ts';

const names = (events: readonly PublishedEvent[]) => events.map(({ event }) => event);

describe('a network', () => {
  it('is defined, started, stopped and forgotten, and every step is told', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    expect(network.facts).toEqual({ mode: 'nat', bridge: 'virbr0', subnets: ['192.168.10.0/24'] });
    await rig.networks.lifecycle.start(network);
    expect(rig.host.plans.get('a')?.subnets).toMatchObject([{ address: '192.168.10.1', prefix: 24 }]);
    await expect(rig.networks.lifecycle.start(network)).rejects.toEqual(code('network.active'));
    await rig.networks.lifecycle.stop(network);
    await expect(rig.networks.lifecycle.stop(network)).rejects.toEqual(code('network.inactive'));
    await rig.networks.definitions.undefine(network);
    expect(rig.networks.list()).toEqual([]);
    expect(readdirSync(join(rig.directory, 'networks'))).toEqual([]);
    expect(names(rig.events)).toEqual([
      'network.defined',
      'network.started',
      'network.stopped',
      'network.undefined',
    ]);
    expect(rig.host.done).toEqual(['start a', 'stop a', 'forget a']);
  });

  it('is found by name and by uuid, and else not', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    expect(rig.networks.find(network.uuid.toUpperCase())).toBe(network);
    expect(() => rig.networks.find('b')).toThrow(code('network.not-found'));
  });

  it('keeps uuid, bridge and address of the bridge when it is redefined without them', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    const before = rig.networks.definitions.definition(network);
    await define(rig, xml('a', 11));
    const after = rig.networks.definitions.definition(network);
    expect(after).toMatchObject({ uuid: before.uuid, mac: before.mac, bridge: before.bridge });
    expect(after.ips[0]?.address).toBe('192.168.11.1');
  });

  it('gets the next bridge that neither host nor network has', async () => {
    const rig = makeRig();
    const link = { index: 1, kind: 'bridge', mac: undefined, mtu: 1500, isUp: true, master: undefined };
    rig.host.facts = { ...rig.host.facts, links: [{ ...link, name: 'virbr0' }] };
    const both = await Promise.all([define(rig, xml('a', 10)), define(rig, xml('b', 11))]);
    expect(both.map((network) => network.facts?.bridge ?? '').toSorted((a, b) => a.localeCompare(b))).toEqual(
      ['virbr1', 'virbr2'],
    );
  });

  it.each([
    ['name', xml('a', 11, '<uuid>00000000-0000-4000-8000-000000000001</uuid>')],
    ['bridge', xml('b', 11, "<bridge name='virbr0'/>")],
  ])('is refused with the %s of another', async (_what, text) => {
    const rig = makeRig();
    await define(rig, xml('a', 10));
    await expect(define(rig, text)).rejects.toEqual(code('network.exists'));
    expect(rig.networks.list()).toHaveLength(1);
  });

  it("is redefined by its name on our own API, and only by its uuid on libvirt's", async () => {
    const rig = makeRig();
    const { definitions } = rig.networks;
    const first = await define(rig, xml('a', 10));
    await expect(definitions.define(xml('a', 11), 'lenient')).rejects.toEqual(code('network.exists'));
    const { network } = await definitions.define(xml('a', 11), 'lenient', { byName: true });
    expect(network).toBe(first);
    expect(definitions.xml(network, { inactive: true })).toContain('192.168.11.1');
  });

  it('that overlaps with another is told so, and does not start beside it', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10));
    const { network: b, warnings } = await rig.networks.definitions.define(xml('b', 10), 'strict');
    expect(warnings).toHaveLength(1);
    const ends = await Promise.allSettled([rig.networks.lifecycle.start(a), rig.networks.lifecycle.start(b)]);
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    await expect(rig.networks.lifecycle.start(b)).rejects.toEqual(code('network.conflict'));
  });

  it('does not start where the host itself has these addresses', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    const route = { family: 4, prefix: 24, gateway: undefined, link: 'eth0' } as const;
    rig.host.facts = { ...rig.host.facts, routes: [{ ...route, destination: '192.168.10.0' }] };
    await expect(rig.networks.lifecycle.start(network)).rejects.toEqual(code('network.conflict'));
    rig.host.facts = { ...rig.host.facts, routes: [{ ...route, destination: '0.0.0.0', prefix: 0 }] };
    await rig.networks.lifecycle.start(network);
  });

  it('that fails to start is as before', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    rig.host.failure = new VirtError('link.failed', { reason: 'no' });
    await expect(rig.networks.lifecycle.start(network)).rejects.toEqual(code('link.failed'));
    expect(network.isActive).toBe(false);
    expect(readdirSync(join(rig.directory, 'status'))).toEqual([]);
    await rig.networks.lifecycle.start(network);
  });

  it('may be transient: gone when it stops', async () => {
    const rig = makeRig();
    const { network } = await rig.networks.lifecycle.create(xml('t', 12), 'strict');
    expect(rig.networks.list({ persistent: false })).toEqual([network]);
    await expect(rig.networks.definitions.setAutostart(network, true)).rejects.toEqual(
      code('network.transient'),
    );
    await rig.networks.lifecycle.stop(network);
    expect(rig.networks.list()).toEqual([]);
    expect(rig.host.done).toEqual(['start t', 'stop t', 'forget t']);
  });

  it('puts the taps of running guests back on its bridge when it starts again', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    rig.ports.push({
      network: 'a',
      domain: { uuid: 'u', name: 'web' },
      mac: '52:54:00:00:00:01',
      device: 'vnet7',
      definition: nicOf("<source network='a'/>"),
    });
    rig.ports.push({
      network: 'b',
      domain: { uuid: 'u', name: 'web' },
      mac: '52:54:00:00:00:02',
      device: 'vnet8',
      definition: nicOf("<source network='a'/>"),
    });
    await rig.networks.lifecycle.start(network);
    expect(rig.host.done).toEqual(['start a', 'attach vnet7 virbr0']);
    expect(rig.networks.definitions.xml(network, { inactive: false })).toContain("<network connections='1'>");
    expect(rig.networks.definitions.xml(network, { inactive: true })).not.toContain('connections');
  });

  it('takes lines for dnsmasq only where the administrator allows them', async () => {
    const text = `<network xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>o</name><ip address='10.9.0.1' prefix='24'/><d:options><d:option value='log-queries'/></d:options></network>`;
    await expect(define(makeRig(), text)).rejects.toEqual(code('definition.unsupported'));
    const rig = makeRig({ allowDnsmasqOptions: true });
    await rig.networks.lifecycle.start(await define(rig, text));
    expect(rig.host.plans.get('o')?.dnsmasqOptions).toEqual(['log-queries']);
  });
});

describe('an update', () => {
  const host = "<host mac='52:54:00:00:00:01' name='web' ip='192.168.10.9'/>";
  const add = { section: 'ip-dhcp-host', command: 'add-last', xml: host } as const;

  it('changes the active network and the stored definition, or only one of them', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    await rig.networks.definitions.update(network, add, { live: true, stored: false });
    expect(rig.host.plans.get('a')?.subnets[0]?.dhcp?.hosts).toHaveLength(1);
    expect(rig.networks.definitions.xml(network, { inactive: true })).not.toContain('<host');
    await rig.networks.definitions.update(network, add, { live: false });
    expect(rig.networks.definitions.xml(network, { inactive: true })).toContain('<host');
    await expect(rig.networks.definitions.update(network, add, {})).rejects.toEqual(code('operation.failed'));
  });

  it('that the host does not take is taken back there, and changes no definition', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    rig.host.failure = new VirtError('program.failed', { reason: 'no' });
    await expect(rig.networks.definitions.update(network, add, {})).rejects.toEqual(code('program.failed'));
    expect(rig.host.plans.get('a')?.subnets[0]?.dhcp?.hosts).toEqual([]);
    for (const inactive of [true, false])
      expect(rig.networks.definitions.xml(network, { inactive })).not.toContain('<host');
  });

  it('that breaks the network changes nothing', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    const wrong = { ...add, xml: "<host mac='52:54:00:00:00:01' ip='192.168.10.1'/>" };
    await expect(rig.networks.definitions.update(network, wrong, {})).rejects.toEqual(code('xml.invalid'));
    expect(rig.host.done).toEqual(['start a']);
  });
});

describe('what is known about a network', () => {
  it('changes where it is stored and where it is active, without touching the host', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    await rig.networks.metadata.setTitle(network, 'Mine');
    await rig.networks.metadata.setDescription(network, 'two\nlines');
    await rig.networks.metadata.set(network, 'urn:app', 'app', '<note>x</note>');
    for (const inactive of [true, false]) {
      const text = rig.networks.definitions.xml(network, { inactive });
      expect(text).toContain('<title>Mine</title>');
      expect(text).toContain("<app:note xmlns:app='urn:app'>x</app:note>");
    }
    expect(rig.networks.metadata.get(network, 'urn:app')).toContain('>x<');
    await rig.networks.metadata.set(network, 'urn:app', undefined, null);
    expect(() => rig.networks.metadata.get(network, 'urn:app')).toThrow(code('network.no-metadata'));
    await expect(rig.networks.metadata.setTitle(network, 'a\nb')).rejects.toEqual(code('xml.invalid'));
    expect(rig.host.done).toEqual(['start a']);
    expect(names(rig.events).filter((name) => name === 'network.metadata-changed')).toHaveLength(4);
  });
});

describe('names of guests', () => {
  const lease = { family: 4, address: '192.168.10.77', prefix: 24, mac: '52:54:00:00:00:05' } as const;
  const port = (name: string) => ({
    network: 'a',
    domain: { uuid: 'dddddddd-4f50-4a61-8b72-93a4b5c6d7e8', name },
    mac: lease.mac,
    device: 'vnet0',
    definition: nicOf("<source network='a'/>", 'network', lease.mac),
  });
  const namesIn = (rig: ReturnType<typeof makeRig>) => rig.host.plans.get('a')?.dns.guestNames;

  it("are their domains', told when a lease comes and taken back when the guest has gone", async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    expect(namesIn(rig)).toEqual([]);
    rig.ports.push(port('Web-1'));
    rig.host.leaseList = [{ ...lease, hostName: 'localhost' }];
    rig.host.tell({ kind: 'leases', network: network.uuid });
    await expect.poll(() => namesIn(rig)).toEqual([{ address: '192.168.10.77', names: ['web-1'] }]);
    expect(rig.host.plans.get('a')?.guests).toEqual([{ domain: 'Web-1', macs: [lease.mac] }]);
    rig.ports.length = 0;
    rig.host.tell({ kind: 'leases', network: network.uuid });
    await expect.poll(() => namesIn(rig)).toEqual([]);
  });

  it('leave alone what the definition names, what is no host name, and networks without DNS', async () => {
    const rig = makeRig();
    const fixed = "<dns><host ip='192.168.10.9'><hostname>web</hostname></host></dns>";
    rig.ports.push(port('WEB'), port('a b'), port('www.example.org'));
    rig.host.leaseList = [lease];
    const network = await define(rig, xml('a', 10, fixed));
    await rig.networks.lifecycle.start(network);
    expect(namesIn(rig)).toEqual([]);
    await rig.networks.lifecycle.stop(network);
    rig.ports.push(port('db'));
    await define(
      rig,
      xml('a', 10, "<dns enable='no'/>").replace('<name>', `<uuid>${network.uuid}</uuid><name>`),
    );
    await rig.networks.lifecycle.start(network);
    expect(namesIn(rig)).toEqual([]);
  });
});

describe('a port forward', () => {
  const forward = { protocol: 'tcp', hostPort: 8080, guest: 'web', guestPort: 80 } as const;
  const lease = { family: 4, address: '192.168.10.77', prefix: 24, mac: '52:54:00:00:00:05' } as const;

  it('waits for its guest, follows it, and goes with its removal', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    rig.macs.set('web', ['52:54:00:00:00:05']);
    expect((await rig.networks.forwards.add(network, forward)).address).toBeUndefined();
    expect(rig.host.plans.get('a')?.portForwards).toEqual([]);
    rig.host.leaseList = [lease];
    rig.host.tell({ kind: 'leases', network: network.uuid });
    await expect.poll(() => rig.host.plans.get('a')?.portForwards[0]?.guestAddress).toBe('192.168.10.77');
    rig.host.leaseList = [{ ...lease, address: '192.168.10.78' }];
    rig.host.tell({ kind: 'leases', network: network.uuid });
    await expect.poll(() => rig.host.plans.get('a')?.portForwards[0]?.guestAddress).toBe('192.168.10.78');
    await rig.networks.forwards.remove(network, forward);
    expect(rig.host.plans.get('a')?.portForwards).toEqual([]);
    await expect(rig.networks.forwards.remove(network, forward)).rejects.toEqual(code('forward.not-found'));
  });

  it('is not moved by a guest that only says it has the name of another', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    rig.macs.set('web', ['52:54:00:00:00:05']);
    rig.host.leaseList = [{ ...lease, mac: '52:54:00:66:66:66', hostName: 'web' }];
    expect((await rig.networks.forwards.add(network, forward)).address).toBeUndefined();
  });

  it('is refused when its port is taken, on this network or on another', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10));
    const b = await define(rig, xml('b', 11));
    await rig.networks.forwards.add(a, forward);
    await expect(rig.networks.forwards.add(a, { ...forward, guest: 'db' })).rejects.toEqual(
      code('forward.conflict'),
    );
    await expect(rig.networks.forwards.add(b, forward)).rejects.toEqual(code('forward.conflict'));
  });
});
