/** What two networks, or a network and its host, cannot both have: bridges, subnets, routes, ports. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { code, define, makeRig, xml } from '../../support/network-rig.ts';

const forwards = (inner: string) =>
  `<metadata><v:forwards xmlns:v='urn:vireo:network:forwards:1'>${inner}</v:forwards></metadata>`;
const web = "<v:forward protocol='tcp' hostPort='8080' guest='web' guestPort='80'/>";

describe('the bridge of a network', () => {
  it('is refused to another while the one runs on it, although its definition has moved on', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10, "<bridge name='one'/>"));
    await rig.networks.lifecycle.start(a);
    await define(rig, xml('a', 10, "<bridge name='two'/>"));
    for (const bridge of ['one', 'two'])
      await expect(define(rig, xml('b', 11, `<bridge name='${bridge}'/>`))).rejects.toMatchObject({
        code: 'network.exists',
        message: expect.stringContaining(`bridge '${bridge}' belongs to network 'a'`) as unknown,
      });
    await rig.networks.lifecycle.stop(a);
    await define(rig, xml('b', 11, "<bridge name='one'/>"));
  });

  it('is not used twice at a time by files that were edited by hand', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10, "<bridge name='one'/>"));
    const b = await define(rig, xml('b', 11, "<bridge name='two'/>"));
    const file = readdirSync(join(rig.directory, 'networks')).find((name) => name.startsWith(b.uuid)) ?? '';
    const path = join(rig.directory, 'networks', file);
    writeFileSync(path, readFileSync(path, 'utf8').replace("name='two'", "name='one'"));
    await rig.networks.rescan();
    await rig.networks.lifecycle.start(a);
    await expect(rig.networks.lifecycle.start(b)).rejects.toMatchObject({
      code: 'network.conflict',
      message: expect.stringContaining("bridge 'one' is that of network 'a', which is active") as unknown,
    });
    await rig.networks.lifecycle.stop(a);
    await rig.networks.lifecycle.start(b);
  });

  it('is no bridge of the host for another network to go on', async () => {
    const rig = makeRig();
    await define(rig, xml('a', 10, "<bridge name='one'/>"));
    const onIt = (name: string, bridge: string) =>
      `<network><name>${name}</name><forward mode='bridge'/><bridge name='${bridge}'/></network>`;
    await expect(define(rig, onIt('b', 'one'))).rejects.toEqual(code('network.exists'));
    await define(rig, onIt('c', 'br0'));
    await define(rig, onIt('d', 'br0'));
  });
});

describe('a network and the addresses of its host', () => {
  const route = { family: 4, gateway: undefined, link: 'eth0' } as const;
  const lan = { ...route, destination: '192.168.0.0', prefix: 16 };
  const address = (text: string) => ({ family: 4, link: 'eth0', address: text, prefix: 16 }) as const;
  const start = async (facts: object, rest = '') => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10, '').replace('</network>', `${rest}</network>`));
    rig.host.facts = { ...rig.host.facts, ...facts };
    return rig.networks.lifecycle.start(network);
  };
  const refused = (reason: string) => ({
    code: 'network.conflict',
    message: expect.stringContaining(reason) as unknown,
  });

  it('go together when the host only has a wider net around it', async () => {
    await expect(start({ routes: [lan], addresses: [address('192.168.99.7')] })).resolves.toEqual([]);
  });

  it.each([
    ['the same net', { routes: [{ ...lan, destination: '192.168.10.0', prefix: 24 }] }, "interface 'eth0'"],
    [
      'a part of it',
      { routes: [{ ...lan, destination: '192.168.10.128', prefix: 25 }] },
      '192.168.10.128/25',
    ],
    ['its own address inside', { routes: [lan], addresses: [address('192.168.10.7')] }, '192.168.10.7'],
    [
      'its router inside',
      { routes: [lan, { ...route, destination: '0.0.0.0', prefix: 0, gateway: '192.168.10.254' }] },
      '192.168.10.254, a router that the host uses',
    ],
  ])('do not when it has %s', async (_what, facts, reason) => {
    await expect(start(facts)).rejects.toMatchObject(refused(reason));
  });

  it("do not when a static route is the host's already", async () => {
    const rest = "<route address='10.9.0.0' prefix='16' gateway='192.168.10.5'/>";
    const routes = [{ ...route, destination: '10.9.0.0', prefix: 16 }];
    await expect(start({ routes }, rest)).rejects.toMatchObject(refused('the route to 10.9.0.0/16'));
    await expect(start({ routes: [{ ...routes[0], prefix: 17 }] }, rest)).resolves.toEqual([]);
  });
});

describe('ports of the host', () => {
  const forward = { protocol: 'tcp', hostPort: 8080, guest: 'web', guestPort: 80 } as const;
  const sshd = { address: '0.0.0.0', port: 8080, pid: 42, program: 'sshd' };

  it('are not taken from a program that listens there', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10));
    rig.host.listeners = [sshd];
    await expect(rig.networks.forwards.add(a, forward)).rejects.toMatchObject({
      code: 'forward.conflict',
      message:
        "cannot forward tcp port 8080 into network 'a': 'sshd' (process 42) of the host listens on tcp port 8080 of 0.0.0.0",
    });
    const range = { ...forward, hostPort: 8070, guestPort: 8070, count: 20 };
    await expect(rig.networks.forwards.add(a, range)).rejects.toEqual(code('forward.conflict'));
    expect(await rig.networks.forwards.list(a)).toEqual([]);
  });

  it('that a program has taken meanwhile are told at the start, and in the list', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10, forwards(web)));
    expect((await rig.networks.forwards.list(a))[0]?.trouble).toBe('the network is not active');
    rig.host.listeners = [sshd];
    expect(await rig.networks.lifecycle.start(a)).toEqual([
      "'sshd' (process 42) of the host listens on tcp port 8080 of 0.0.0.0 and is cut off: the port leads into the network",
    ]);
    expect((await rig.networks.forwards.list(a))[0]?.trouble).toContain("'sshd'");
    rig.host.listeners = [];
    expect((await rig.networks.forwards.list(a))[0]?.trouble).toMatch(/no domain 'web'/);
    rig.macs.set('web', ['52:54:00:00:00:05']);
    expect((await rig.networks.forwards.list(a))[0]?.trouble).toBe('the guest has no address yet');
    const lease = { family: 4, address: '192.168.10.77', prefix: 24, mac: '52:54:00:00:00:05' } as const;
    rig.host.leaseList = [lease];
    expect(await rig.networks.forwards.list(a)).toMatchObject([
      { address: '192.168.10.77', trouble: undefined },
    ]);
  });

  it('lead to one network only, however the second came by its forward', async () => {
    const rig = makeRig();
    const a = await define(rig, xml('a', 10, forwards(web)));
    await expect(define(rig, xml('b', 11, forwards(web)))).rejects.toMatchObject({
      code: 'forward.conflict',
      message: expect.stringContaining("network 'a' forwards it already") as unknown,
    });
    const b = await define(rig, xml('b', 11));
    const range = { protocol: 'tcp', hostPort: 8000, guest: 'db', guestPort: 8000, count: 100 } as const;
    await expect(rig.networks.forwards.add(b, range)).rejects.toEqual(code('forward.conflict'));
    await rig.networks.forwards.add(b, { ...range, count: 80 });
    await rig.networks.forwards.add(b, { ...forward, protocol: 'udp' });
    await expect(define(rig, xml('a', 10, forwards(web)))).resolves.toBe(a);
  });

  it('are of IPv4 and IPv6 apart, and all addresses are written in more than one way', async () => {
    const rig = makeRig();
    const six = "<ip family='ipv6' address='fd00:1::1' prefix='64'/>";
    const a = await define(rig, xml('a', 10).replace('</network>', `${six}</network>`));
    await rig.networks.forwards.add(a, { ...forward, guest: undefined, guestAddress: '192.168.10.5' });
    await rig.networks.forwards.add(a, { ...forward, guest: undefined, guestAddress: 'fd00:1::5' });
    for (const hostAddress of ['0.0.0.0', '::', '127.0.0.1'])
      await expect(rig.networks.forwards.add(a, { ...forward, hostAddress })).rejects.toEqual(
        code('forward.conflict'),
      );
    await rig.networks.lifecycle.start(a);
    await rig.networks.forwards.add(a, {
      ...forward,
      hostPort: 53,
      hostAddress: '::',
      guest: undefined,
      guestAddress: 'fd00:1::5',
      count: 3,
    });
    expect(rig.host.plans.get('a')?.portForwards.at(-1)).toEqual({
      protocol: 'tcp',
      family: 6,
      hostPort: 53,
      count: 3,
      guestAddress: 'fd00:1::5',
      guestPort: 80,
    });
    await expect(
      rig.networks.forwards.add(a, { ...forward, hostPort: 9, hostAddress: '::1' }),
    ).rejects.toMatchObject({ message: expect.stringContaining('::1') as unknown });
  });
});
