/** Events in the old form, whose messages name no callback. Arguments and results (remote_protocol.x). */
import {
  domainEventBalloonChangeMsg,
  domainEventBlockJobMsg,
  domainEventControlErrorMsg,
  domainEventDeviceRemovedMsg,
  domainEventDiskChangeMsg,
  domainEventGraphicsMsg,
  domainEventIoErrorMsg,
  domainEventIoErrorReasonMsg,
  domainEventLifecycleMsg,
  domainEventPmsuspendDiskMsg,
  domainEventPmsuspendMsg,
  domainEventPmwakeupMsg,
  domainEventRebootMsg,
  domainEventRtcChangeMsg,
  domainEventTrayChangeMsg,
  domainEventWatchdogMsg,
} from './event-bodies.ts';
import { message } from './procedure.ts';

export const eventsLegacyProcedures = {
  domainEventLifecycle: message(107, domainEventLifecycleMsg),
  domainEventReboot: message(169, domainEventRebootMsg),
  domainEventRtcChange: message(170, domainEventRtcChangeMsg),
  domainEventWatchdog: message(171, domainEventWatchdogMsg),
  domainEventIoError: message(172, domainEventIoErrorMsg),
  domainEventGraphics: message(173, domainEventGraphicsMsg),
  domainEventIoErrorReason: message(195, domainEventIoErrorReasonMsg),
  domainEventControlError: message(224, domainEventControlErrorMsg),
  domainEventBlockJob: message(241, domainEventBlockJobMsg),
  domainEventDiskChange: message(248, domainEventDiskChangeMsg),
  domainEventTrayChange: message(268, domainEventTrayChangeMsg),
  domainEventPmwakeup: message(269, domainEventPmwakeupMsg),
  domainEventPmsuspend: message(270, domainEventPmsuspendMsg),
  domainEventBalloonChange: message(276, domainEventBalloonChangeMsg),
  domainEventPmsuspendDisk: message(292, domainEventPmsuspendDiskMsg),
  domainEventDeviceRemoved: message(311, domainEventDeviceRemovedMsg),
} as const;
