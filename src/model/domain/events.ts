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

const off = oneOf('destroy', 'restart', 'preserve', 'rename-restart');

export const onPoweroff = childText('on_poweroff', off);
export const onReboot = childText('on_reboot', off);
export const onCrash = childText(
  'on_crash',
  oneOf('destroy', 'restart', 'preserve', 'rename-restart', 'coredump-destroy', 'coredump-restart'),
);
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
