/** What events carry that exist in two forms: alone, and behind the number of a callback (remote_protocol.x). */
import { array, int, safeHyper, safeUhyper, struct } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string } from './objects.ts';

export const domainEventLifecycleMsg = struct({ dom: nonnullDomain, event: int, detail: int });
export const domainEventRebootMsg = struct({ dom: nonnullDomain });
export const domainEventRtcChangeMsg = struct({ dom: nonnullDomain, offset: safeHyper });
export const domainEventWatchdogMsg = struct({ dom: nonnullDomain, action: int });
export const domainEventIoErrorMsg = struct({
  dom: nonnullDomain,
  srcPath: nonnullString,
  devAlias: nonnullString,
  action: int,
});
export const domainEventIoErrorReasonMsg = struct({
  dom: nonnullDomain,
  srcPath: nonnullString,
  devAlias: nonnullString,
  action: int,
  reason: nonnullString,
});
export const domainEventGraphicsAddress = struct({
  family: int,
  node: nonnullString,
  service: nonnullString,
});
export const domainEventGraphicsIdentity = struct({ type: nonnullString, name: nonnullString });
export const domainEventGraphicsMsg = struct({
  dom: nonnullDomain,
  phase: int,
  local: domainEventGraphicsAddress,
  remote: domainEventGraphicsAddress,
  authScheme: nonnullString,
  subject: array(domainEventGraphicsIdentity, limits.domainEventGraphicsIdentity),
});
export const domainEventBlockJobMsg = struct({
  dom: nonnullDomain,
  path: nonnullString,
  type: int,
  status: int,
});
export const domainEventDiskChangeMsg = struct({
  dom: nonnullDomain,
  oldSrcPath: string,
  newSrcPath: string,
  devAlias: nonnullString,
  reason: int,
});
export const domainEventTrayChangeMsg = struct({ dom: nonnullDomain, devAlias: nonnullString, reason: int });
export const domainEventPmwakeupMsg = struct({ dom: nonnullDomain });
export const domainEventPmsuspendMsg = struct({ dom: nonnullDomain });
export const domainEventBalloonChangeMsg = struct({ dom: nonnullDomain, actual: safeUhyper });
export const domainEventPmsuspendDiskMsg = struct({ dom: nonnullDomain });
export const domainEventControlErrorMsg = struct({ dom: nonnullDomain });
export const domainEventDeviceRemovedMsg = struct({ dom: nonnullDomain, devAlias: nonnullString });
