/** All handlers of all programs, found by program and procedure. */
import type { Program } from '../../../../libvirt/protocol/programs.ts';
import type { Engine, QemuHandlers, RemoteHandlers } from '../context.ts';
import { authenticationHandlers } from './authentication.ts';
import { connectHandlers } from './connect.ts';
import { cpuHandlers } from './cpu.ts';
import { domainAddressHandlers } from './domain-addresses.ts';
import { domainBackupHandlers } from './domain-backups.ts';
import { domainBlockJobHandlers } from './domain-block-jobs.ts';
import { domainBlockHandlers } from './domain-blocks.ts';
import { domainCheckpointHandlers } from './domain-checkpoints.ts';
import { domainControlHandlers } from './domain-controls.ts';
import { domainCpuHandlers } from './domain-cpus.ts';
import { domainDefinitionHandlers } from './domain-definition.ts';
import { domainDeviceHandlers } from './domain-devices.ts';
import { domainDumpHandlers } from './domain-dumps.ts';
import { domainFileHandlers } from './domain-files.ts';
import { domainGuestHandlers } from './domain-guest.ts';
import { domainInfoHandlers } from './domain-info.ts';
import { domainJobHandlers } from './domain-jobs.ts';
import { domainLifecycleHandlers } from './domain-lifecycle.ts';
import { domainListHandlers } from './domain-list.ts';
import { domainMemoryHandlers } from './domain-memory.ts';
import { domainMetadataHandlers } from './domain-metadata.ts';
import { domainParameterHandlers } from './domain-parameters.ts';
import { domainPolicyHandlers } from './domain-policies.ts';
import { domainSaveHandlers } from './domain-saves.ts';
import { domainSnapshotHandlers } from './domain-snapshots.ts';
import { domainStatsHandlers } from './domain-stats.ts';
import { eventHandlers } from './events.ts';
import { identityHandlers } from './identity.ts';
import { interfaceHandlers } from './interfaces.ts';
import { launchSecurityHandlers } from './launch-security.ts';
import { mediatedDeviceHandlers } from './mediated-devices.ts';
import { nativeHandlers } from './native.ts';
import { networkHandlers } from './network.ts';
import { networkDefinitionHandlers } from './network-definition.ts';
import { networkPortHandlers } from './network-ports.ts';
import { nodeHandlers } from './node.ts';
import { nodeDeviceHandlers } from './node-devices.ts';
import { nodeTuningHandlers } from './node-tuning.ts';
import { nwFilterHandlers } from './nwfilters.ts';
import { qemuHandlers } from './qemu.ts';
import { secretHandlers } from './secrets.ts';
import { storagePoolChangeHandlers } from './storage-pool-changes.ts';
import { storagePoolHandlers } from './storage-pools.ts';
import { storageVolumeChangeHandlers } from './storage-volume-changes.ts';
import { storageVolumeHandlers } from './storage-volumes.ts';
import { throttleGroupHandlers } from './throttle-groups.ts';

/** The handlers of an engine. A new area adds its file here. */
export function buildHandlerTable(engine: Engine): HandlerTable {
  const remote = {
    ...authenticationHandlers(),
    ...connectHandlers(engine),
    ...identityHandlers(engine),
    ...nodeHandlers(engine),
    ...nodeTuningHandlers(engine),
    ...cpuHandlers(engine),
    ...nativeHandlers(engine),
    ...domainListHandlers(engine),
    ...domainDefinitionHandlers(engine),
    ...domainLifecycleHandlers(engine),
    ...domainInfoHandlers(engine),
    ...domainMetadataHandlers(engine),
    ...domainStatsHandlers(engine),
    ...domainSnapshotHandlers(engine),
    ...domainCheckpointHandlers(engine),
    ...domainBackupHandlers(engine),
    ...domainMemoryHandlers(engine),
    ...domainCpuHandlers(engine),
    ...domainBlockHandlers(engine),
    ...domainBlockJobHandlers(engine),
    ...domainParameterHandlers(engine),
    ...domainPolicyHandlers(engine),
    ...domainGuestHandlers(engine),
    ...domainControlHandlers(engine),
    ...domainDeviceHandlers(engine),
    ...domainAddressHandlers(engine),
    ...domainSaveHandlers(engine),
    ...domainDumpHandlers(engine),
    ...domainJobHandlers(engine),
    ...launchSecurityHandlers(engine),
    ...domainFileHandlers(engine),
    ...eventHandlers(),
    ...networkHandlers(engine),
    ...networkDefinitionHandlers(engine),
    ...networkPortHandlers(engine),
    ...nwFilterHandlers(engine),
    ...nodeDeviceHandlers(engine),
    ...mediatedDeviceHandlers(engine),
    ...interfaceHandlers(engine),
    ...secretHandlers(engine),
    ...storagePoolHandlers(engine),
    ...storagePoolChangeHandlers(engine),
    ...storageVolumeHandlers(engine),
    ...storageVolumeChangeHandlers(engine),
    ...throttleGroupHandlers(engine),
  } satisfies RemoteHandlers;
  return new HandlerTable(remote, qemuHandlers(engine));
}

export class HandlerTable {
  private readonly tables: Readonly<Record<Program['name'], ReadonlyMap<string, unknown>>>;

  constructor(remote: RemoteHandlers, qemu: QemuHandlers) {
    this.tables = {
      remote: new Map(Object.entries(remote)),
      qemu: new Map(Object.entries(qemu)),
      lxc: new Map(),
    };
  }

  /** The handler of a procedure; undefined for what is not supported. */
  find(program: Program['name'], procedure: string): unknown {
    return this.tables[program].get(procedure);
  }

  /** Names of the procedures that have a handler. */
  namesOf(program: Program['name']): string[] {
    return [...this.tables[program].keys()].sort();
  }
}
