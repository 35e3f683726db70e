/**
 * Runs the network host inside a namespace (`ip netns exec NS node agent.ts OPTIONS`): takes one JSON request a line on
 * stdin and answers with one JSON line. Ends, and leaves the networks on, when stdin ends.
 */
import { createInterface } from 'node:readline';
import { isVirtError } from '../../../src/base/errors.ts';
import { createLogger } from '../../../src/base/log.ts';
import { createNetworkHost } from '../../../src/net/host.ts';
import type { FirewallBackendName, NetworkPlan, TapRequest } from '../../../src/net/plan.ts';

export interface AgentOptions {
  readonly root: string;
  readonly firewall: FirewallBackendName | 'auto';
  readonly checkEveryMs: number;
}

export interface AgentRequest {
  readonly id: number;
  readonly method: string;
  readonly argument?: unknown;
}

const options = JSON.parse(process.argv[2] ?? '{}') as AgentOptions;
process.umask(0o077);

const host = createNetworkHost({
  dnsmasqDirectory: `${options.root}/var/lib/libvirt/dnsmasq`,
  runtimeDirectory: `${options.root}/run/vireo`,
  firewall: options.firewall,
  log: createLogger({ level: 'info', format: 'json' }),
  checkEveryMs: options.checkEveryMs,
});
const events: unknown[] = [];
host.subscribe((event) => events.push(event));

async function answer({ method, argument }: AgentRequest): Promise<unknown> {
  const plan = argument as NetworkPlan;
  switch (method) {
    case 'start':
    case 'stop':
    case 'reconcile':
    case 'reload':
    case 'leases':
    case 'forget': {
      const begun = performance.now();
      const result = await host[method](plan);
      return result ?? { milliseconds: performance.now() - begun };
    }
    case 'probe':
      return host.probe();
    case 'openTap':
      return host.openTap(argument as TapRequest);
    case 'attachTap': {
      const { name, bridge } = argument as { name: string; bridge: string };
      return host.attachTap(name, bridge);
    }
    case 'deleteTap':
      return host.deleteTap(argument as string);
    case 'events':
      return events.splice(0);
    default:
      throw new Error(`no method ${method}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as AgentRequest;
  const reply = await answer(request).then(
    (result) => ({ id: request.id, result: result ?? null }),
    (error: unknown) => ({
      id: request.id,
      error: isVirtError(error) ? { code: error.code, message: error.message } : { message: String(error) },
    }),
  );
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
host.detach();
process.exit(0);
