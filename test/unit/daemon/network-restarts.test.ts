/** Networks of a daemon that starts again, and what it finds and makes by itself. */
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { code, define, makeRig, xml } from '../../support/network-rig.ts';
import { nicOf } from '../../support/nic.ts';

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
