/** What is assumed of guests on user networks, and how it is told. */
import { describe, expect, it } from 'vitest';
import { assumedAddresses } from '../../../src/daemon/services/assumed-addresses.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const likely = (...interfaces: string[]) =>
  assumedAddresses(
    parseDomain(xml('a').replace("<interface type='user'/>", interfaces.join('')), { mode: 'strict' })
      .definition.devices.interfaces,
  ).map(({ address, prefix }) => `${address}/${prefix}`);

describe('the address on a user network', () => {
  it("is the first that QEMU's DHCP gives, of the network that the definition names", () => {
    expect(likely("<interface type='user'/>")).toEqual(['10.0.2.15/24']);
    expect(
      likely("<interface type='user'><ip family='ipv4' address='172.17.2.0' prefix='24'/></interface>"),
    ).toEqual(['172.17.2.15/24']);
    expect(
      likely("<interface type='user'><ip family='ipv6' address='fd00::1' prefix='64'/></interface>"),
    ).toEqual(['10.0.2.15/24']);
  });

  it('is not assumed where another program or network gives it', () => {
    expect(
      likely(
        "<interface type='user'><backend type='passt'/></interface>",
        "<interface type='bridge'><source bridge='br0'/></interface>",
      ),
    ).toEqual([]);
  });

  it('is told as assumed when nobody knows, and only to whoever asks everybody', async () => {
    const client = await (await startDaemon()).connect();
    await client.call('domain.define', { xml: xml('web') });
    await client.call('domain.start', { domain: 'web' });
    const { interfaces } = await client.call('domain.addresses', { domain: 'web' });
    expect(interfaces[0]?.addresses).toMatchObject([
      { address: '10.0.2.15', prefix: 24, sources: ['assumed'], confirmed: false },
    ]);
    const asked = await client.call('domain.addresses', { domain: 'web', sources: ['user', 'lease'] });
    expect(asked.interfaces[0]?.addresses).toEqual([]);
    await expect(
      client.call('domain.wait', { domain: 'web', until: 'address', timeoutMs: 100 }),
    ).rejects.toMatchObject({
      code: 'operation.timeout',
      message: expect.stringContaining('10.0.2.15'),
    });
  });
});
