/** Addresses of guests and waiting for them, over a fake hypervisor: who says what, and what counts. */
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { startDaemon, xml } from './service-rig.ts';

describe("a guest's addresses", () => {
  const nic = (mac: string) =>
    `<interface type='network'><mac address='${mac}'/><source network='n'/></interface>`;
  const macs = ['52:54:00:00:00:01', '52:54:00:00:00:02'] as const;
  const lease = { family: 4 as const, address: '10.1.0.5', prefix: 24, mac: macs[0], hostName: 'web' };

  async function startGuest() {
    const daemon = await startDaemon();
    const client = await daemon.connect();
    await client.call('domain.define', { xml: xml('a', macs.map(nic).join('')), startAfter: true });
    return { ...daemon, client, guest: daemon.driver.lastGuest };
  }

  it('come from all who know, merged, each with who said it', async () => {
    const { client, guest, knowledge } = await startGuest();
    const seen = { family: 4 as const, linkIndex: 1, confirmedAgoMs: 0 };
    knowledge.leases = [lease, { ...lease, mac: '52:54:00:ff:ff:ff', address: '10.1.0.6' }];
    knowledge.neighbours = [
      { ...seen, address: '10.1.0.5', mac: macs[0] },
      { ...seen, address: '10.1.0.9', mac: macs[1], confirmedAgoMs: 3_600_000 },
    ];
    const address = (text: string, prefix: number, family: 4 | 6 = 4) => ({ family, address: text, prefix });
    guest.interfaces = Promise.resolve([
      { name: 'lo', addresses: [address('127.0.0.1', 8)] },
      { name: 'eth1', mac: macs[0], addresses: [address('fe80::1', 64, 6), address('10.1.0.5', 16)] },
      { name: 'docker0', mac: '02:42:00:00:00:01', addresses: [address('172.17.0.1', 16)] },
    ]);
    const { interfaces, silent } = await client.call('domain.addresses', { domain: 'a' });
    expect(silent).toEqual([]);
    expect(interfaces.slice(1)).toMatchObject([
      {
        alias: 'net1',
        guestName: 'eth1',
        network: 'n',
        addresses: [
          {
            address: '10.1.0.5',
            prefix: 24,
            sources: ['lease', 'agent', 'arp'],
            hostName: 'web',
            confirmed: true,
          },
          { address: 'fe80::1', prefix: 64, sources: ['agent'] },
        ],
      },
      {
        alias: 'net2',
        addresses: [{ address: '10.1.0.9', prefix: null, sources: ['arp'], confirmed: false }],
      },
      { alias: null, guestName: 'docker0', addresses: [{ address: '172.17.0.1' }] },
    ]);
    const leased = await client.call('domain.addresses', { domain: 'a', sources: ['lease'] });
    const told = leased.interfaces.flatMap(({ addresses }) => addresses);
    // The lease may be of an earlier run: nobody saw it given.
    expect(told).toMatchObject([{ address: '10.1.0.5', sources: ['lease'], confirmed: false }]);
  });

  it('by DHCPv6 are known by the MAC address in the id of the guest, where there is one', async () => {
    const { client, knowledge } = await startGuest();
    const six = { family: 6 as const, prefix: 64, iaid: '1' };
    knowledge.leases = [
      { ...six, address: 'fd00::a', clientId: `00:03:00:01:${macs[0]}` },
      { ...six, address: 'fd00::b', clientId: `00:01:00:01:2c:aa:bb:cc:${macs[1]}` },
      { ...six, address: 'fd00::c', clientId: '00:04:11:22' },
      { ...six, address: 'fd00::d' },
    ];
    const { interfaces } = await client.call('domain.addresses', { domain: 'a', sources: ['lease'] });
    const told = interfaces.map(({ addresses }) => addresses.map(({ address }) => address));
    expect(told).toEqual([[], ['fd00::a'], ['fd00::b']]);
  });

  it('are told to a read-only client, too, without anybody asking the guest', async () => {
    const { connect, domains, knowledge, driver } = await startDaemon({ readOnly: true });
    const text = xml('a', nic(macs[0]));
    const { domain } = await domains.definitions.define(text, { mode: 'strict' });
    await domains.lifecycle.start(domain, { paused: false });
    driver.lastGuest.interfaces = Promise.reject(new Error('the agent was asked'));
    driver.lastGuest.interfaces.catch(() => undefined);
    knowledge.leases = [{ ...lease, changedAtMs: Date.now() + 1000 }];
    const client = await connect();
    const found = await client.call('domain.addresses', { domain: 'a' });
    expect(found.silent).toEqual([]);
    expect(found.interfaces[1]?.addresses).toMatchObject([{ address: '10.1.0.5' }]);
    const readOnly = { code: 'access.read-only' };
    const asking = client.call('domain.addresses', { domain: 'a', sources: ['lease', 'agent'] });
    await expect(asking).rejects.toMatchObject(readOnly);
    const waiting = (until: 'agent' | 'ssh' | 'address') =>
      client.call('domain.wait', { domain: 'a', until, timeoutMs: 1000 });
    await expect(waiting('agent')).rejects.toMatchObject(readOnly);
    await expect(waiting('ssh')).rejects.toMatchObject(readOnly);
    expect((await waiting('address')).reached?.address).toBe('10.1.0.5');
    knowledge.leases = [];
    await expect(waiting('address')).rejects.toMatchObject({ code: 'operation.timeout' });
  });

  it('need no agent, and say why it is silent; asked for alone, that is the error', async () => {
    const { client, guest } = await startGuest();
    guest.interfaces = Promise.reject(new VirtError('agent.missing', { reason: 'no channel' }));
    guest.interfaces.catch(() => undefined);
    const { silent } = await client.call('domain.addresses', { domain: 'a' });
    expect(silent).toEqual([{ source: 'agent', reason: 'no channel' }]);
    await expect(client.call('domain.addresses', { domain: 'a', sources: ['agent'] })).rejects.toMatchObject({
      code: 'agent.missing',
    });
  });

  it('are of a running guest', async () => {
    const { client } = await startGuest();
    await client.call('domain.destroy', { domain: 'a' });
    await expect(client.call('domain.addresses', { domain: 'a' })).rejects.toMatchObject({
      code: 'domain.inactive',
    });
  });

  it('are waited for: an old lease does not count, a new one does', async () => {
    const { client, knowledge } = await startGuest();
    const params = { domain: 'a', until: 'address' as const };
    const none = client.call('domain.wait', { ...params, timeoutMs: 20 });
    await expect(none).rejects.toMatchObject({
      code: 'operation.timeout',
      reason: expect.stringContaining('no DHCP lease') as unknown,
    });
    // An address that leads nowhere (RFC 6666): the daemon asks the network for it.
    knowledge.leases = [{ ...lease, family: 6, address: '100::5' }];
    const old = client.call('domain.wait', { ...params, timeoutMs: 100 });
    await expect(old).rejects.toMatchObject({
      code: 'operation.timeout',
      reason: expect.stringContaining('100::5 before, and does not answer') as unknown,
    });
    const waiting = client.call('domain.wait', { ...params, timeoutMs: 10_000 });
    knowledge.leases = [{ ...lease, changedAtMs: Date.now() + 1 }];
    expect(await waiting).toMatchObject({ name: 'a', reached: { address: '10.1.0.5', port: null } });
  });

  it('lead to its SSH server, which is waited for by its banner', async () => {
    const { client, knowledge } = await startGuest();
    const server = createServer((socket) => socket.end('hello\r\nSSH-2.0-test\r\n'));
    onTestFinished(() => void server.close());
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    const wait = (timeoutMs: number) => client.call('domain.wait', { domain: 'a', until: 'ssh', timeoutMs });
    await expect(wait(20)).rejects.toMatchObject({
      reason: expect.stringContaining('leads to its port 22') as unknown,
    });
    const waiting = wait(10_000);
    const forward = { hostAddress: '127.0.0.1', hostPort: port, guestPort: 22 };
    await client.call('domain.port-forward.add', { domain: 'a', ...forward });
    expect(await waiting).toMatchObject({ reached: { address: '127.0.0.1', port } });
    expect(knowledge.leases).toEqual([]);
  });

  it('and its agent are waited for; where it cannot come, that is told at once', async () => {
    const { client, guest } = await startGuest();
    const wait = () => client.call('domain.wait', { domain: 'a', until: 'agent', timeoutMs: 10_000 });
    guest.interfaces = Promise.reject(new VirtError('agent.unresponsive', { reason: 'not yet' }));
    guest.interfaces.catch(() => undefined);
    const waiting = wait();
    guest.interfaces = Promise.resolve([]);
    guest.emit({ kind: 'agent-channel', seconds: 0, connected: true, alias: 'channel0' });
    expect(await waiting).toMatchObject({ name: 'a', reached: null });
    guest.interfaces = Promise.reject(new VirtError('agent.missing', { reason: 'no channel' }));
    guest.interfaces.catch(() => undefined);
    await expect(wait()).rejects.toMatchObject({ code: 'agent.missing' });
  });

  it('wait for a domain that is started meanwhile, and end with the client', async () => {
    const { client, connect, knowledge, driver } = await startGuest();
    await client.call('domain.destroy', { domain: 'a' });
    const waiting = client.call('domain.wait', { domain: 'a', until: 'address', timeoutMs: 10_000 });
    const other = await connect();
    const leaving = other.call('domain.wait', { domain: 'a', until: 'running', timeoutMs: 60_000 });
    leaving.catch(() => undefined);
    await other.close();
    await expect(leaving).rejects.toThrow();
    knowledge.leases = [{ ...lease, changedAtMs: Date.now() + 60_000 }];
    await (await connect()).call('domain.start', { domain: 'a' });
    expect(await waiting).toMatchObject({ state: 'running', reached: { address: '10.1.0.5' } });
    expect(driver.guests).toHaveLength(2);
  });
});
