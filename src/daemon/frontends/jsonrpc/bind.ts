/** All handlers of the JSON-RPC front end, bound to the services behind it. */
import type { Logger } from '../../../base/log.ts';
import type { HypervisorDriver } from '../../../drivers/driver.ts';
import type { ImageGuests } from '../../services/domain-image.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { ImageService } from '../../services/images.ts';
import type { Jobs } from '../../services/jobs.ts';
import type { NetworkService } from '../../services/network-service.ts';
import type { NodeDeviceService } from '../../services/node-device-service.ts';
import type { NwFilterService } from '../../services/nwfilter-service.ts';
import type { SaslUsers } from '../../services/sasl-users.ts';
import type { SecretService } from '../../services/secret-service.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { Undo } from '../../undo/undo.ts';
import { bindBackups } from './bind-backup.ts';
import { bindCheckpoints } from './bind-checkpoint.ts';
import { bindDaemon, type DaemonSource } from './bind-daemon.ts';
import { bindDomains } from './bind-domain.ts';
import type { HistorySource } from './bind-history.ts';
import { bindHost, type HostSource } from './bind-host.ts';
import { bindImages } from './bind-image.ts';
import { bindJobs } from './bind-job.ts';
import { bindNetworks } from './bind-network.ts';
import { bindNodeDevices } from './bind-node-device.ts';
import { bindNwFilters } from './bind-nwfilter.ts';
import type { ReportSource } from './bind-report.ts';
import { bindSaslUsers } from './bind-sasl-users.ts';
import { bindSecrets } from './bind-secret.ts';
import { bindSnapshots } from './bind-snapshot.ts';
import { bindStorage } from './bind-storage.ts';
import { bindUndo } from './bind-undo.ts';
import type { Handlers } from './handlers.ts';
import { type CallRecord, recordCalls } from './record-calls.ts';

export interface JsonRpcServices {
  readonly domains: DomainService;
  /** Undefined in a session. */
  readonly networks?: NetworkService | undefined;
  /** In a session: what works there instead of networks. */
  readonly waysOut?: () => Promise<string>;
  /** Undefined in a session. */
  readonly nwfilters?: NwFilterService | undefined;
  readonly secrets: SecretService;
  readonly saslUsers: SaslUsers;
  readonly nodeDevices: NodeDeviceService;
  readonly storage: StorageService;
  readonly images: ImageService;
  readonly imageGuests: ImageGuests;
  readonly reports: ReportSource;
  readonly history: HistorySource;
  readonly undo: Undo;
  readonly jobs: Jobs;
  readonly host: HostSource;
  readonly driver: Pick<HypervisorDriver, 'capabilitiesXml' | 'domainCapabilitiesXml'>;
  readonly daemon: DaemonSource;
  /** Where calls that change domains are noted; nowhere when left out. */
  readonly record?: CallRecord;
  readonly log: Logger;
}

export function buildHandlers(services: JsonRpcServices): Handlers {
  const handlers: Handlers = {
    ...bindDaemon(services.daemon, services.domains),
    ...bindHost(services.host, services.driver),
    ...bindDomains(services),
    ...bindSnapshots(services.domains),
    ...bindCheckpoints(services.domains),
    ...bindBackups(services.domains),
    ...bindNetworks(
      services.networks,
      services.waysOut ?? (async () => 'use the system connection'),
      services.undo,
    ),
    ...bindNwFilters(services.nwfilters),
    ...bindSecrets(services.secrets),
    ...bindSaslUsers(services.saslUsers),
    ...bindNodeDevices(services.nodeDevices),
    ...bindStorage(services.storage, services.undo, services.log),
    ...bindImages(services.storage, services.images, services.log),
    ...bindJobs(services.jobs),
    ...bindUndo(services.undo),
  };
  return recordCalls(handlers, services.record);
}
