/** Network methods onto the network service: find the network, call the verb, shape the result. */
import type { Params } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { NetworkPortForward } from '../../../model/network/port-forwards.ts';
import type { NetworkTestOptions } from '../../../net/test/step.ts';
import type { Network } from '../../services/network.ts';
import type { NetworkService } from '../../services/network-service.ts';
import type { Undo } from '../../undo/undo.ts';
import { undoableOf } from './bind-undo.ts';
import { quarantinedOf } from './domain-shapes.ts';
import type { Handlers } from './handlers.ts';
import { leaseOf, networkDetailsOf, networkForwardOf, networkSummaryOf } from './network-shapes.ts';

type NetworkMethod = Extract<keyof Handlers, `network.${string}`>;
type NetworkHandlers = Pick<Handlers, NetworkMethod>;

/**
 * Without a service this is a session daemon: every method says what works there instead, which `waysOut` tells.
 */
export function bindNetworks(
  service: NetworkService | undefined,
  waysOut: () => Promise<string>,
  undo: Undo,
): NetworkHandlers {
  const networks = (): NetworkService => {
    if (service === undefined) throw new Error('a session has no network service');
    return service;
  };
  const handlers = {
    ...bindQueries(networks),
    ...bindDefinitions(networks, undo),
    ...bindLifecycle(networks),
  };
  if (service !== undefined) return handlers;
  const refuse = async (): Promise<never> => {
    throw needsSystem(await waysOut());
  };
  return Object.fromEntries(
    Object.keys(handlers).map((name) => [name, refuse]),
  ) as unknown as NetworkHandlers;
}

type Networks = () => NetworkService;

function needsSystem(hint: string): VirtError {
  return new VirtError('network.session', {
    wanted: 'use virtual networks',
    reason: 'bridges, DHCP and firewall rules need the system connection (qemu:///system)',
    hint,
  });
}

function bindQueries(networks: Networks) {
  return {
    'network.list': async (filter) => ({
      networks: networks()
        .list(filter)
        .map((network) => networkSummaryOf(networks(), network)),
      quarantined: networks().quarantined.map((file) => quarantinedOf(file)),
    }),
    'network.get': async ({ network }) => networkDetailsOf(networks(), networks().find(network)),
    'network.xml': async ({ network, inactive }) => ({
      xml: networks().definitions.xml(networks().find(network), { inactive }),
    }),
    'network.leases': async ({ network, mac }) => {
      const found = networks().find(network);
      const ports = networks().ports(found);
      const leases = await networks().leases(found);
      const wanted = leases.filter((lease) => mac === undefined || lease.mac === mac.toLowerCase());
      return { leases: wanted.map((lease) => leaseOf(lease, ports)) };
    },
    'network.get-metadata': async ({ network, uri, inactive }) => ({
      xml: networks().metadata.get(networks().find(network), uri, { inactive }),
    }),
    'network.port-forward.list': async ({ network }) => {
      const found = networks().find(network);
      const forwards = await networks().forwards.list(found);
      return { portForwards: forwards.map((forward) => networkForwardOf(found, forward)) };
    },
  } satisfies Partial<NetworkHandlers>;
}

function bindDefinitions(networks: Networks, undo: Undo) {
  const summary = (network: Network) => networkSummaryOf(networks(), network);
  const modeOf = (strict: boolean) => (strict ? 'strict' : 'lenient');
  return {
    'network.define': async ({ xml, strict }) => {
      const { network, dropped, warnings } = await networks().definitions.define(xml, modeOf(strict), {
        byName: true,
      });
      return { network: summary(network), dropped: [...dropped], warnings: [...warnings] };
    },
    'network.undefine': async ({ network }) => {
      const service = networks();
      const kept = await undo.undefineNetwork(service, service.find(network));
      return { undo: kept === undefined ? null : undoableOf(kept) };
    },
    'network.create': async (params) => {
      const { start, mode, domainName, dhcp, ...wish } = params;
      const { network, warnings } = await networks().creation.create({
        ...wish,
        mode: mode === 'isolated' ? 'none' : mode,
        domain: domainName,
        noDhcp: !dhcp,
      });
      if (start) await networks().lifecycle.start(network);
      return { network: summary(network), warnings: [...warnings] };
    },
    'network.create-xml': async ({ xml, strict }) => {
      const { network, dropped } = await networks().lifecycle.create(xml, modeOf(strict));
      return { network: summary(network), dropped: [...dropped] };
    },
    'network.update': async ({ network, live, stored, ...update }) => {
      await networks().definitions.update(networks().find(network), update, { live, stored });
      return {};
    },
    'network.set-title': async ({ network, title }) => {
      await networks().metadata.setTitle(networks().find(network), title);
      return {};
    },
    'network.set-description': async ({ network, description }) => {
      await networks().metadata.setDescription(networks().find(network), description);
      return {};
    },
    'network.set-metadata': async ({ network, uri, key, xml }) => {
      await networks().metadata.set(networks().find(network), uri, key, xml);
      return {};
    },
    'network.set-autostart': async ({ network, autostart }) => {
      await networks().definitions.setAutostart(networks().find(network), autostart);
      return {};
    },
  } satisfies Partial<NetworkHandlers>;
}

function bindLifecycle(networks: Networks) {
  return {
    'network.start': async ({ network }) => {
      const found = networks().find(network);
      const warnings = await networks().lifecycle.start(found);
      return { ...networkSummaryOf(networks(), found), warnings: [...warnings] };
    },
    'network.stop': async ({ network }) => {
      const found = networks().find(network);
      const connected = networks().ports(found);
      await networks().lifecycle.stop(found);
      return { disconnected: [...new Set(connected.map((port) => port.domain.name))].sort() };
    },
    'network.reload': async ({ network }) => {
      await networks().lifecycle.reload(networks().find(network));
      return {};
    },
    'network.test': async ({ network, ...options }, { signal }) => {
      const steps = await networks().tests.run(networks().find(network), testOptionsOf(options), signal);
      return {
        ok: steps.every(({ status }) => status !== 'failed'),
        steps: steps.map((step) => ({ ...step, repair: step.repair ?? null })),
      };
    },
    'network.port-forward.add': async ({ network, ...forward }) => {
      const found = networks().find(network);
      return networkForwardOf(found, await networks().forwards.add(found, forwardOf(forward)));
    },
    'network.port-forward.remove': async ({ network, ...end }) => {
      await networks().forwards.remove(networks().find(network), end);
      return {};
    },
  } satisfies Partial<NetworkHandlers>;
}

function forwardOf(wish: Omit<Params<'network.port-forward.add'>, 'network'>): NetworkPortForward {
  return wish;
}

function testOptionsOf({ target, outsideName }: Omit<Params<'network.test'>, 'network'>): NetworkTestOptions {
  return { ...(target !== undefined && { target }), ...(outsideName !== undefined && { outsideName }) };
}
