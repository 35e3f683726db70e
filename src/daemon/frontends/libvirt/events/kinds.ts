/** Kinds of events as clients number them (libvirt-domain.h, -network.h, ...), and the messages that carry each. */
import type { RemoteMessageName } from '../../../../libvirt/protocol/programs.ts';

/** virDomainEventID: those that the protocol can carry, with the message of each form. */
export const domainEventKinds = {
  lifecycle: { id: 0, message: 'domainEventCallbackLifecycle', legacy: 'domainEventLifecycle' },
  reboot: { id: 1, message: 'domainEventCallbackReboot', legacy: 'domainEventReboot' },
  rtcChange: { id: 2, message: 'domainEventCallbackRtcChange', legacy: 'domainEventRtcChange' },
  watchdog: { id: 3, message: 'domainEventCallbackWatchdog', legacy: 'domainEventWatchdog' },
  ioError: { id: 4, message: 'domainEventCallbackIoError', legacy: 'domainEventIoError' },
  graphics: { id: 5, message: 'domainEventCallbackGraphics', legacy: 'domainEventGraphics' },
  ioErrorReason: {
    id: 6,
    message: 'domainEventCallbackIoErrorReason',
    legacy: 'domainEventIoErrorReason',
  },
  controlError: { id: 7, message: 'domainEventCallbackControlError', legacy: 'domainEventControlError' },
  blockJob: { id: 8, message: 'domainEventCallbackBlockJob', legacy: 'domainEventBlockJob' },
  diskChange: { id: 9, message: 'domainEventCallbackDiskChange', legacy: 'domainEventDiskChange' },
  trayChange: { id: 10, message: 'domainEventCallbackTrayChange', legacy: 'domainEventTrayChange' },
  pmWakeup: { id: 11, message: 'domainEventCallbackPmwakeup', legacy: 'domainEventPmwakeup' },
  pmSuspend: { id: 12, message: 'domainEventCallbackPmsuspend', legacy: 'domainEventPmsuspend' },
  balloonChange: {
    id: 13,
    message: 'domainEventCallbackBalloonChange',
    legacy: 'domainEventBalloonChange',
  },
  pmSuspendDisk: {
    id: 14,
    message: 'domainEventCallbackPmsuspendDisk',
    legacy: 'domainEventPmsuspendDisk',
  },
  deviceRemoved: {
    id: 15,
    message: 'domainEventCallbackDeviceRemoved',
    legacy: 'domainEventDeviceRemoved',
  },
  blockJob2: { id: 16, message: 'domainEventBlockJob2' },
  tunable: { id: 17, message: 'domainEventCallbackTunable' },
  agentLifecycle: { id: 18, message: 'domainEventCallbackAgentLifecycle' },
  deviceAdded: { id: 19, message: 'domainEventCallbackDeviceAdded' },
  migrationIteration: { id: 20, message: 'domainEventCallbackMigrationIteration' },
  jobCompleted: { id: 21, message: 'domainEventCallbackJobCompleted' },
  deviceRemovalFailed: { id: 22, message: 'domainEventCallbackDeviceRemovalFailed' },
  metadataChange: { id: 23, message: 'domainEventCallbackMetadataChange' },
  blockThreshold: { id: 24, message: 'domainEventBlockThreshold' },
  memoryFailure: { id: 25, message: 'domainEventMemoryFailure' },
  memoryDeviceSizeChange: { id: 26, message: 'domainEventMemoryDeviceSizeChange' },
  nicMacChange: { id: 27, message: 'domainEventNicMacChange' },
} as const satisfies Readonly<
  Record<
    string,
    { readonly id: number; readonly message: RemoteMessageName; readonly legacy?: RemoteMessageName }
  >
>;

export type DomainEventKind = keyof typeof domainEventKinds;

/** One kind of object, and how many event ids it has. */
export const idCounts = {
  domain: Object.keys(domainEventKinds).length,
  /** Lifecycle, metadata change. */
  network: 2,
  /** Lifecycle, refresh. */
  storagePool: 2,
  /** Lifecycle, update. */
  nodeDevice: 2,
  /** Lifecycle, value changed. */
  secret: 2,
} as const;

export type EventObject = keyof typeof idCounts;
