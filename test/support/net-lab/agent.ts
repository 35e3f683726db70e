/**
 * Runs the network host inside a namespace (`ip netns exec NS node agent.ts OPTIONS`): takes one JSON request a line on
 * stdin and answers with one JSON line. Ends, and leaves the networks on, when stdin ends.
 */
import { createInterface } from 'node:readline';
import { isVirtError } from '../../../src/base/errors.ts';
import { createLogger } from '../../../src/base/log.ts';
import { builtInFilter } from '../../../src/model/nwfilter/built-in.ts';
import { compileFilter } from '../../../src/net/filter/compile.ts';
import { TapFilters } from '../../../src/net/filter/tap-filters.ts';
import type { FilterVariables } from '../../../src/net/filter/variables.ts';
import { createNetworkHost } from '../../../src/net/host.ts';
import type { FirewallBackendName, ListenerQuery, NetworkPlan, TapRequest } from '../../../src/net/plan.ts';

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
const filters = new TapFilters({
  log: createLogger({ level: 'info', format: 'json' }),
  checkEveryMs: options.checkEveryMs,
});
let cancelling = new AbortController();
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
    case 'findListeners':
      return host.findListeners(argument as ListenerQuery);
    case 'openTap':
      return host.openTap(argument as TapRequest);
    case 'attachTap': {
      const { name, bridge } = argument as { name: string; bridge: string };
      return host.attachTap(name, bridge);
    }
    case 'deleteTap':
      return host.deleteTap(argument as string);
    case 'test':
      return host.test(plan, { signal: cancelling.signal });
    case 'testTarget': {
      const wish = argument as { plan: NetworkPlan; target: string };
      return host.test(wish.plan, { signal: cancelling.signal, target: wish.target });
    }
    case 'cancel':
      cancelling.abort();
      cancelling = new AbortController();
      return undefined;
    case 'filter': {
      const { tap, name, variables } = argument as { tap: string; name: string; variables: FilterVariables };
      const changed = await filters.apply(new Map([[tap, compileFilter(name, variables, builtInFilter)]]));
      return changed.length > 0;
    }
    case 'dropFilter':
      return filters.drop(argument as string);
    case 'keepFilters':
      return filters.dropOthers(new Set(argument as string[]));
    case 'events':
      return events.splice(0);
    default:
      throw new Error(`no method ${method}`);
  }
}

async function reply(request: AgentRequest): Promise<void> {
  const text = await answer(request).then(
    (result) => ({ id: request.id, result: result ?? null }),
    (error: unknown) => ({
      id: request.id,
      error: isVirtError(error) ? { code: error.code, message: error.message } : { message: String(error) },
    }),
  );
  process.stdout.write(`${JSON.stringify(text)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as AgentRequest;
  const answered = reply(request);
  // A test of a network can be called off while it runs.
  if (!request.method.startsWith('test')) await answered;
}
host.detach();
filters.detach();
process.exit(0);
