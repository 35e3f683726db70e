/** The whole contract: every method and every event, by name, with their types. */
import type { z } from 'zod';
import { backupMethods } from './backup.ts';
import { checkpointMethods } from './checkpoint.ts';
import { daemonMethods } from './daemon.ts';
import { domainAgentMethods } from './domain-agent.ts';
import { domainBlockJobMethods } from './domain-block-jobs.ts';
import { domainCloneMethods } from './domain-clone.ts';
import { domainDefinitionMethods } from './domain-definition.ts';
import { domainDeviceMethods } from './domain-devices.ts';
import { domainHistoryMethods } from './domain-history.ts';
import { domainInterfaceMethods } from './domain-interfaces.ts';
import { domainLaunchSecurityMethods } from './domain-launch-security.ts';
import { domainLifecycleMethods } from './domain-lifecycle.ts';
import { domainLimitMethods } from './domain-limits.ts';
import { domainMeasuringMethods } from './domain-measuring.ts';
import { domainPowerOrderMethods } from './domain-power-order.ts';
import { domainQueries } from './domain-queries.ts';
import { domainReportMethods } from './domain-report.ts';
import { domainSaveMethods } from './domain-saves.ts';
import { domainStatisticsMethods } from './domain-statistics.ts';
import { domainThrottleGroupMethods } from './domain-throttle-groups.ts';
import { domainTuningMethods } from './domain-tuning.ts';
import { eventDeclarations, eventMethods } from './events.ts';
import { hostMethods } from './host.ts';
import { imageMethods } from './image.ts';
import { jobMethods } from './jobs.ts';
import { networkMethods } from './network.ts';
import { nodeDeviceMethods } from './node-device.ts';
import { nwfilterMethods } from './nwfilter.ts';
import { poolMethods } from './pool.ts';
import { saslUserMethods } from './sasl-users.ts';
import { secretMethods } from './secret.ts';
import { snapshotMethods } from './snapshot.ts';
import { undoMethods } from './undo.ts';
import { volumeMethods } from './volume.ts';
import { volumeTransferMethods } from './volume-transfer.ts';

/** Makes an object of declarations, keyed by name, without a prototype, so that `constructor` is no method. */
function byName<const T extends readonly { readonly name: string }[]>(
  declarations: T,
): { readonly [D in T[number] as D['name']]: D } {
  const table = Object.create(null) as Record<string, T[number]>;
  for (const declaration of declarations) {
    if (table[declaration.name] !== undefined) throw new Error(`declared twice: ${declaration.name}`);
    table[declaration.name] = declaration;
  }
  return Object.freeze(table) as { readonly [D in T[number] as D['name']]: D };
}

/** Every method, by name. */
export const methods = byName([
  ...daemonMethods,
  ...hostMethods,
  ...eventMethods,
  ...jobMethods,
  ...domainQueries,
  ...domainDefinitionMethods,
  ...domainCloneMethods,
  ...domainDeviceMethods,
  ...domainInterfaceMethods,
  ...domainLifecycleMethods,
  ...domainSaveMethods,
  ...domainPowerOrderMethods,
  ...domainTuningMethods,
  ...domainThrottleGroupMethods,
  ...domainMeasuringMethods,
  ...domainLaunchSecurityMethods,
  ...domainLimitMethods,
  ...domainBlockJobMethods,
  ...domainStatisticsMethods,
  ...domainReportMethods,
  ...domainHistoryMethods,
  ...domainAgentMethods,
  ...snapshotMethods,
  ...checkpointMethods,
  ...backupMethods,
  ...networkMethods,
  ...nodeDeviceMethods,
  ...nwfilterMethods,
  ...secretMethods,
  ...saslUserMethods,
  ...poolMethods,
  ...volumeMethods,
  ...volumeTransferMethods,
  ...imageMethods,
  ...undoMethods,
]);

/** Every event, by name. */
export const events = byName(eventDeclarations);

export type MethodName = keyof typeof methods;

/** Params as a client may write them: what has a default may be left out. */
export type ParamsInput<Name extends MethodName> = z.input<(typeof methods)[Name]['params']>;
/** Params as a handler sees them: checked, with defaults filled in. */
export type Params<Name extends MethodName> = z.output<(typeof methods)[Name]['params']>;
export type Result<Name extends MethodName> = z.output<(typeof methods)[Name]['result']>;

/** The methods that turn the connection into a byte stream. */
export type UpgradeMethodName = {
  [Name in MethodName]: true extends (typeof methods)[Name]['upgrade'] ? Name : never;
}[MethodName];

export type { EventName, EventNotification, EventPattern, EventPayload, PublishedEvent } from './events.ts';
export { eventGroups } from './events.ts';
export type { AccessClass, EventDeclaration, MethodDeclaration } from './method.ts';
