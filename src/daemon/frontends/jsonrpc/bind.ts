/** All handlers of the JSON-RPC front end, bound to the services behind it. */
import type { Logger } from '../../../base/log.ts';
import type { HypervisorDriver } from '../../../drivers/driver.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { Jobs } from '../../services/jobs.ts';
import type { NetworkService } from '../../services/network-service.ts';
import type { NodeDeviceService } from '../../services/node-device-service.ts';
import type { NwFilterService } from '../../services/nwfilter-service.ts';
import type { SecretService } from '../../services/secret-service.ts';
import { bindDaemon, type DaemonSource } from './bind-daemon.ts';
import { bindDomains } from './bind-domain.ts';
import { bindHost, type HostSource } from './bind-host.ts';
import { bindJobs } from './bind-job.ts';
import { bindNetworks } from './bind-network.ts';
import { bindNodeDevices } from './bind-node-device.ts';
import { bindNwFilters } from './bind-nwfilter.ts';
import { bindSecrets } from './bind-secret.ts';
import type { Handlers } from './handlers.ts';

export interface JsonRpcServices {
  readonly domains: DomainService;
  /** Undefined in a session. */
  readonly networks?: NetworkService | undefined;
  /** In a session: what works there instead of networks. */
  readonly waysOut?: () => Promise<string>;
  /** Undefined in a session. */
  readonly nwfilters?: NwFilterService | undefined;
  readonly secrets: SecretService;
  readonly nodeDevices: NodeDeviceService;
  readonly jobs: Jobs;
  readonly host: HostSource;
  readonly driver: Pick<HypervisorDriver, 'capabilitiesXml' | 'domainCapabilitiesXml'>;
  readonly daemon: DaemonSource;
  readonly log: Logger;
}

export function buildHandlers(services: JsonRpcServices): Handlers {
  return {
    ...bindDaemon(services.daemon, services.domains),
    ...bindHost(services.host, services.driver),
    ...bindDomains(services.domains, services.networks, services.log),
    ...bindNetworks(services.networks, services.waysOut ?? (async () => 'use the system connection')),
    ...bindNwFilters(services.nwfilters),
    ...bindSecrets(services.secrets),
    ...bindNodeDevices(services.nodeDevices),
    ...bindJobs(services.jobs),
  };
}
