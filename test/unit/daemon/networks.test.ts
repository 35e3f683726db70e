/** The network service over a host of plain data: life cycle, conflicts, forwards, restarts of the daemon. */
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
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

describe('a daemon that starts again', () => {
  it('knows what was active, brings the host in order and reconnects guests', async () => {
    const first = makeRig();
    await first.networks.lifecycle.start(await define(first, xml('a', 10)));
    await define(first, xml('b', 11));
    const { network } = await first.networks.lifecycle.create(xml('t', 12), 'strict');
    const rig = makeRig({ directory: first.directory });
    rig.ports.push({
      network: 't',
      domain: { uuid: 'u', name: 'web' },
      mac: '52:54:00:00:00:01',
      device: 'vnet7',
      definition: nicOf("<source network='a'/>"),
    });
    expect(rig.networks.list({ active: true }).map(({ name }) => name)).toEqual(['a', 't']);
    await rig.networks.bringUp(join(rig.directory, 'marker'));
    expect(rig.host.done.toSorted()).toEqual(['attach vnet7 virbr2', 'reconcile a', 'reconcile t']);
    expect(rig.networks.find(network.uuid).isPersistent).toBe(false);
  });

  it('takes back a start that was interrupted', async () => {
    const first = makeRig();
    const network = await define(first, xml('a', 10));
    await first.networks.lifecycle.start(network);
    const file = join(first.directory, 'status', `${network.uuid}.json`);
    const status = {
      format: 1,
      uuid: network.uuid,
      name: 'a',
      phase: 'starting',
      persistent: true,
      startedAtMs: 1,
    };
    writeFileSync(file, JSON.stringify({ ...status, xml: network.xml }));
    const rig = makeRig({ directory: first.directory });
    await rig.networks.bringUp(join(rig.directory, 'marker'));
    expect(rig.host.done).toEqual(['stop a']);
    expect(rig.networks.find('a').isActive).toBe(false);
    expect(existsSync(file)).toBe(false);
  });

  it('starts what is marked so once in the life of the host', async () => {
    const first = makeRig();
    const network = await define(first, xml('a', 10));
    await first.networks.definitions.setAutostart(network, true);
    const marker = join(first.directory, 'marker');
    const second = makeRig({ directory: first.directory });
    await second.networks.bringUp(marker);
    expect(second.host.done).toEqual(['start a']);
    await second.networks.lifecycle.stop(second.networks.find('a'));
    const third = makeRig({ directory: first.directory });
    await third.networks.bringUp(marker);
    expect(third.host.done).toEqual([]);
  });

  it('puts a broken file aside, names it, and serves the others', async () => {
    const first = makeRig();
    const network = await define(first, xml('a', 10));
    await define(first, xml('b', 11));
    writeFileSync(join(first.directory, 'networks', `${network.uuid}.xml`), 'torn');
    const rig = makeRig({ directory: first.directory });
    expect(rig.networks.list().map(({ name }) => name)).toEqual(['b']);
    expect(rig.networks.quarantined).toHaveLength(1);
    expect(() => rig.networks.find(network.uuid)).toThrow(code('network.quarantined'));
    const later = makeRig({ directory: first.directory });
    expect(later.networks.quarantined).toHaveLength(1);
    expect(() => later.networks.find(network.uuid)).toThrow(code('network.quarantined'));
  });
});

describe('files that an administrator changes', () => {
  it('are taken over; a broken one is put aside, and the definition in use is written again', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    const file = join(rig.directory, 'networks', `${network.uuid}.xml`);
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll('192.168.10.', '192.168.40.'));
    const other = makeRig();
    const stranger = await define(other, xml('b', 11));
    const name = `${stranger.uuid}.xml`;
    copyFileSync(join(other.directory, 'networks', name), join(rig.directory, 'networks', name));
    await rig.networks.rescan();
    expect(network.facts?.subnets).toEqual(['192.168.40.0/24']);
    expect(rig.networks.list().map((one) => one.name)).toEqual(['a', 'b']);
    writeFileSync(file, 'torn');
    await rig.networks.rescan();
    expect(rig.networks.quarantined).toHaveLength(1);
    expect(network.facts?.subnets).toEqual(['192.168.40.0/24']);
    expect(readFileSync(file, 'utf8')).toContain('192.168.40.1');
  });
});

describe('the network default', () => {
  it('is defined once, and does not come back', async () => {
    const rig = makeRig();
    const marker = join(rig.directory, 'default');
    await rig.networks.creation.defineDefault(marker);
    const network = rig.networks.find('default');
    expect(network).toMatchObject({
      autostart: true,
      facts: { bridge: 'virbr0', subnets: ['192.168.122.0/24'] },
    });
    await rig.networks.definitions.undefine(network);
    await rig.networks.creation.defineDefault(marker);
    expect(rig.networks.list()).toEqual([]);
  });

  it('goes elsewhere when the host is on its customary addresses', async () => {
    const rig = makeRig();
    const address = { family: 4, link: 'eth0', prefix: 23, address: '192.168.122.40' } as const;
    rig.host.facts = { ...rig.host.facts, addresses: [address] };
    await rig.networks.creation.defineDefault(join(rig.directory, 'default'));
    expect(rig.networks.find('default').facts?.subnets).toEqual(['192.168.124.0/24']);
  });

  it('is left to those who have networks already', async () => {
    const rig = makeRig();
    await define(rig, xml('mine', 10));
    await rig.networks.creation.defineDefault(join(rig.directory, 'default'));
    expect(rig.networks.list().map(({ name }) => name)).toEqual(['mine']);
  });
});

describe('a new network of a few words', () => {
  const wish = { name: 'lab', mode: 'nat', autostart: false } as const;

  it('takes a subnet that nobody has', async () => {
    const rig = makeRig();
    await define(rig, xml('a', 122));
    const { network } = await rig.networks.creation.create(wish);
    expect(network.facts?.subnets).toEqual(['192.168.123.0/24']);
  });

  it.each([
    ['10.0.0.0/30', '10.0.0.2', '10.0.0.2'],
    ['10.0.0.0/16', '10.0.0.2', '10.0.255.254'],
    ['10.0.0.0/8', '10.0.0.2', '10.1.0.0'],
  ])('gives the addresses of %s from %s to %s', async (subnet, start, end) => {
    const rig = makeRig();
    const { network } = await rig.networks.creation.create({ ...wish, subnet });
    const { ips } = rig.networks.definitions.definition(network);
    expect(ips[0]?.dhcp?.ranges).toEqual([{ start, end }]);
  });

  it.each([
    [{ subnet: 'x' }, 'request.invalid'],
    [{ subnet: 'fd00::/64' }, 'request.invalid'],
    [{ subnet: '127.0.0.0/8' }, 'xml.invalid'],
    [{ bridge: 'br0\nbr1' }, 'xml.invalid'],
    [{ domain: 'a\ndhcp-script=/bin/sh' }, 'xml.invalid'],
  ])('with %j is refused', async (more, wanted) => {
    const rig = makeRig();
    await expect(rig.networks.creation.create({ ...wish, ...more })).rejects.toEqual(code(wanted));
    expect(rig.networks.list()).toEqual([]);
  });
});
