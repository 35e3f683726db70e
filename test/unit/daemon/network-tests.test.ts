/** Tests of networks as a service: what is asked of the host, as which job, and what the definition adds. */
import { describe, expect, it } from 'vitest';
import type { TestStep } from '../../../src/net/test/step.ts';
import { code, define, makeRig, xml } from '../../support/network-rig.ts';

const step: TestStep = { id: 'link', title: 'Bridge', status: 'ok', detail: 'seen' };
const never = new AbortController().signal;

describe('a test of a network', () => {
  it('needs an active network with a bridge of its own', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await expect(rig.networks.tests.run(network, {}, never)).rejects.toEqual(code('network.inactive'));
    const foreign = await define(
      rig,
      "<network><name>b</name><forward mode='bridge'/><bridge name='br0'/></network>",
    );
    await rig.networks.lifecycle.start(foreign);
    await expect(rig.networks.tests.run(foreign, {}, never)).rejects.toEqual(code('definition.unsupported'));
    expect(rig.host.done.filter((what) => what.startsWith('test'))).toEqual([]);
  });

  it("gives the host's steps, and tells of forwards whose guest is not there", async () => {
    const rig = makeRig();
    rig.host.testSteps = [step];
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    await rig.networks.forwards.add(network, {
      protocol: 'tcp',
      hostPort: 8080,
      guest: 'web',
      guestPort: 80,
    });
    expect(await rig.networks.tests.run(network, {}, never)).toEqual([
      step,
      expect.objectContaining({
        id: 'forward-tcp-8080',
        status: 'skipped',
        detail: expect.stringContaining("'web' has no address yet") as string,
      }),
    ]);
    expect(rig.host.done).toContain('test a');
  });

  it('gives up waiting for its turn when the client has gone', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10));
    await rig.networks.lifecycle.start(network);
    await expect(rig.networks.tests.run(network, {}, AbortSignal.abort())).rejects.toEqual(
      code('operation.aborted'),
    );
    expect(rig.host.done).not.toContain('test a');
  });
});
