/** What happens when the guest powers off, reboots or crashes; power management; perf counters. */
import {
  attr,
  child,
  childAttr,
  children,
  childText,
  object,
  required,
  wrapped,
} from '../../base/xml/codec.ts';
import { matching, oneOf, yesNo } from '../../base/xml/scalars.ts';

const offActions = ['destroy', 'restart', 'preserve', 'rename-restart'] as const;
const crashActions = [...offActions, 'coredump-destroy', 'coredump-restart'] as const;

/** What a definition can say of each, by its field. */
export const lifecycleActions = {
  onPoweroff: offActions,
  onReboot: offActions,
  onCrash: crashActions,
} as const;

const off = oneOf(...offActions);

export const onPoweroff = childText('on_poweroff', off);
export const onReboot = childText('on_reboot', off);
export const onCrash = childText('on_crash', oneOf(...crashActions));
export const onLockfailure = childText('on_lockfailure', oneOf('poweroff', 'restart', 'pause', 'ignore'));

export const pm = child(
  'pm',
  object({
    suspendToMem: childAttr('suspend-to-mem', 'enabled', yesNo),
    suspendToDisk: childAttr('suspend-to-disk', 'enabled', yesNo),
  }),
);

export const perf = wrapped(
  'perf',
  children(
    'event',
    object({
      name: required(attr('name', matching(/^[a-z_]{1,40}$/, 'a perf event')), 'name'),
      enabled: required(attr('enabled', yesNo), 'enabled'),
    }),
  ),
);
