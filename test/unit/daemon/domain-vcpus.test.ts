/** Single virtual CPUs of a running guest through the service: what the driver is asked, what the definitions say then. */
import { describe, expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

async function running(places: string) {
  const rig = await startDaemon();
  const client = await rig.connect();
  const definition = xml('web').replace(/<vcpu>\d+<\/vcpu>|(?=<os>)/, "<vcpu current='3'>4</vcpu>");
  await client.call('domain.define', { xml: definition });
  await client.call('domain.start', { domain: 'web' });
  rig.driver.lastGuest.cpuPlaces = Array.from(places, (one, first) => ({
    first,
    count: 1,
    isPresent: one !== '-',
    ...(one === 'p' && { alias: `vcpu${first}` }),
    ...(one !== '-' && { order: first + 1 }),
  }));
  const set = (vcpus: string, enabled: boolean, targets: object = { live: true }) =>
    client.call('domain.set-vcpu', { domain: 'web', vcpus, enabled, ...targets });
  const asked = () => rig.driver.lastGuest.done.filter((what) => what.startsWith('cpus'));
  const cpusOf = async (inactive: boolean) => {
    const { xml: text } = await client.call('domain.xml', { domain: 'web', inactive });
    return [...text.matchAll(/<vcpu id='(\d)' enabled='(\w+)'/g)].map(
      ([, id, enabled]) => `${id} ${enabled}`,
    );
  };
  return { set, asked, cpusOf };
}

describe('single CPUs', () => {
  it('are taken out of the guest and put back, and its definition says so', async () => {
    const { set, asked, cpusOf } = await running('Npp-');
    await set('1', false);
    expect(await cpusOf(false)).toEqual(['0 yes', '1 no', '2 yes', '3 no']);
    expect(await cpusOf(true)).toEqual([]);
    await set('1', true);
    expect(asked()).toEqual(['cpus 1 out', 'cpus 1 in']);
    expect(await cpusOf(false)).toEqual(['0 yes', '1 yes', '2 yes', '3 no']);
  });

  it('are asked for only when they can go: never the first, none that is out already', async () => {
    const { set, asked } = await running('Npp-');
    for (const [vcpus, enabled] of [
      ['0', false],
      ['3', false],
      ['1', true],
      ['9', true],
    ] as const)
      await expect(set(vcpus, enabled)).rejects.toThrow(expect.objectContaining({ code: 'request.invalid' }));
    expect(asked()).toEqual([]);
  });
});
