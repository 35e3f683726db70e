/** A network service over a host of plain data, in a directory of the test's own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { PublishedEvent } from '../../src/api/index.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Hooks } from '../../src/daemon/hooks/hooks.ts';
import { EventBus } from '../../src/daemon/services/events.ts';
import { createJobs } from '../../src/daemon/services/jobs.ts';
import type { Network } from '../../src/daemon/services/network.ts';
import { NetworkService } from '../../src/daemon/services/network-service.ts';
import type { NetworkPort } from '../../src/daemon/services/network-world.ts';
import { DefinitionStore } from '../../src/daemon/state/definitions.ts';
import { NetworkStatusStore } from '../../src/daemon/state/network-status.ts';
import { FakeNetworkHost } from './fake-network-host.ts';

export interface Rig {
  readonly networks: NetworkService;
  readonly host: FakeNetworkHost;
  readonly events: PublishedEvent[];
  readonly ports: NetworkPort[];
  readonly macs: Map<string, string[]>;
  readonly directory: string;
}

export function makeRig(
  options: { directory?: string; allowDnsmasqOptions?: boolean; hooks?: Hooks } = {},
): Rig {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'vireo-networks-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const host = new FakeNetworkHost();
  const bus = new EventBus(silentLogger);
  const events: PublishedEvent[] = [];
  bus.subscribe((event) => event.event.startsWith('job.') || events.push(event));
  const ports: NetworkPort[] = [];
  const macs = new Map<string, string[]>();
  const networks = new NetworkService({
    definitions: new DefinitionStore({
      directory: join(directory, 'networks'),
      quarantine: join(directory, 'quarantine'),
      noun: 'network',
      log: silentLogger,
    }),
    status: new NetworkStatusStore({ directory: join(directory, 'status'), log: silentLogger }),
    host,
    guests: { ports: () => ports, macsOf: (domain) => macs.get(domain) ?? [] },
    events: bus,
    jobs: createJobs(bus),
    ...(options.hooks && { hooks: options.hooks }),
    log: silentLogger,
    jobWaitMs: 1000,
    allowDnsmasqOptions: options.allowDnsmasqOptions ?? false,
  });
  networks.open();
  return { networks, host, events, ports, macs, directory };
}

/** A NAT network on 192.168.THIRD.0/24. */
export const xml = (name: string, third: number, rest = '') =>
  `<network><name>${name}</name><forward mode='nat'/>${rest}<ip address='192.168.${third}.1' netmask='255.255.255.0'><dhcp><range start='192.168.${third}.2' end='192.168.${third}.254'/></dhcp></ip></network>`;

export const define = async (rig: Rig, text: string): Promise<Network> =>
  (await rig.networks.definitions.define(text, 'strict')).network;
export const code = (wanted: string) => expect.objectContaining({ code: wanted }) as unknown;
