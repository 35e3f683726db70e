/** The guest's clock and its timers. */
import {
  attr,
  child,
  children,
  type Field,
  type Infer,
  object,
  required,
  type Scalar,
} from '../../base/xml/codec.ts';
import { int, matching, oneOf, uint, yesNo } from '../../base/xml/scalars.ts';

const uint32 = uint({ max: 2 ** 32 - 1 });

const catchup = object({
  threshold: attr('threshold', uint32),
  slew: attr('slew', uint32),
  limit: attr('limit', uint32),
});

const timer = object({
  name: required(
    attr('name', oneOf('platform', 'pit', 'rtc', 'hpet', 'tsc', 'kvmclock', 'hypervclock', 'armvtimer')),
    'name',
  ),
  present: attr('present', yesNo),
  tickpolicy: attr('tickpolicy', oneOf('delay', 'catchup', 'merge', 'discard')),
  track: attr('track', oneOf('boot', 'guest', 'wall', 'realtime')),
  /** Hertz, for the tsc. */
  frequency: attr('frequency', uint()),
  mode: attr('mode', oneOf('auto', 'native', 'emulate', 'paravirt', 'smpsafe')),
  catchup: child('catchup', catchup),
});

export type Timer = Infer<typeof timer>;

const seconds = int({ min: -(2 ** 53 - 1), max: 2 ** 53 - 1 });

/** Seconds (a leading + is allowed), or `reset`: make the offset basis again at each start. */
const adjustment: Scalar<number | 'reset'> = {
  parse: (text) => (text === 'reset' ? 'reset' : seconds.parse(text.replace(/^\+/, ''))),
  format: String,
};

const clockCodec = object({
  offset: required(attr('offset', oneOf('utc', 'localtime', 'timezone', 'variable', 'absolute')), 'offset'),
  adjustment: attr('adjustment', adjustment),
  basis: attr('basis', oneOf('utc', 'localtime')),
  timezone: attr('timezone', matching(/^[A-Za-z0-9_.+/-]{1,64}$/, 'a time zone')),
  /** Seconds since 1970 for offset absolute. */
  start: attr('start', uint()),
  timers: children('timer', timer),
});

export type Clock = Infer<typeof clockCodec>;

export const clock: Field<Clock | undefined> = child('clock', clockCodec);
