/** Tests of active networks: the steps of the host's own test, and what only the definition tells. */
import { VirtError } from '../../base/errors.ts';
import { hasOwnBridge } from '../../model/network/network.ts';
import type { NetworkTestOptions, TestStep } from '../../net/test/step.ts';
import type { Network } from './network.ts';
import type { NetworkPlans } from './network-plans.ts';
import type { NetworkWorld } from './network-world.ts';

export class NetworkTests {
  private readonly world: NetworkWorld;
  private readonly plans: NetworkPlans;

  constructor(world: NetworkWorld, plans: NetworkPlans) {
    this.world = world;
    this.plans = plans;
  }

  /**
   * Tests an active network link by link, which takes some seconds. Nothing of the test stays, also when it is called
   * off, by `signal` or as a job. Guests notice nothing.
   * @throws VirtError network.inactive, definition.unsupported for a network on others' bridges, operation.aborted
   */
  run(network: Network, options: NetworkTestOptions, signal: AbortSignal): Promise<TestStep[]> {
    const { world } = this;
    const job = {
      kind: 'test',
      object: { type: 'network', ...network.identity },
      isCancellable: true,
    } as const;
    return network.jobs.run(
      'test',
      () =>
        world.jobs.run(job, async (running) => {
          const onStep = ({ title, status }: TestStep) => running.progress({ step: `${title}: ${status}` });
          return this.test(network, {
            ...options,
            signal: AbortSignal.any([signal, running.signal]),
            onStep,
          });
        }),
      { waitMs: world.jobWaitMs, signal },
    );
  }

  private async test(
    network: Network,
    request: Parameters<NetworkWorld['host']['test']>[1],
  ): Promise<TestStep[]> {
    const wanted = `test network '${network.name}'`;
    const { definition } = network.requireLive(wanted);
    if (!hasOwnBridge(definition))
      throw new VirtError('definition.unsupported', {
        wanted,
        reason:
          "the network is a bridge or an interface of the host's, and its DHCP, DNS and rules are others'",
      });
    const plan = await this.plans.plan(network, definition);
    const steps = await this.world.host.test(plan, request);
    const waiting = (await this.plans.resolve(network, definition)).filter(
      ({ address }) => address === undefined,
    );
    return [
      ...steps,
      ...waiting.map(({ forward: { protocol, hostPort, guest } }): TestStep => {
        const detail = `'${guest}' has no address yet: it does not run, or has no lease`;
        const title = `Forward of ${protocol} port ${hostPort}`;
        return { id: `forward-${protocol}-${hostPort}`, title, status: 'skipped', detail };
      }),
    ];
  }
}
