/** `<sound>` cards and the `<audio>` backends that they play through. */
import {
  attr,
  child,
  childAttr,
  children,
  type ElementCodec,
  type Infer,
  object,
} from '../../../base/xml/codec.ts';
import { int, oneOf, str, uint, yesNo } from '../../../base/xml/scalars.ts';
import { common } from './address.ts';
import { group, kinds, need } from './combinators.ts';

export const soundCodec = object({
  model: need('model', oneOf('sb16', 'es1370', 'pcspk', 'ac97', 'ich6', 'ich7', 'ich9', 'usb')),
  codecs: children('codec', object({ type: need('type', oneOf('duplex', 'micro', 'output')) })),
  audioId: childAttr('audio', 'id', uint({ max: 255 })),
  ...common,
});
export type Sound = Infer<typeof soundCodec>;

const number = uint({ max: 0xffff_ffff });
const direction = {
  mixingEngine: attr('mixingEngine', yesNo),
  fixedSettings: attr('fixedSettings', yesNo),
  voices: attr('voices', number),
  /** Microseconds. */
  bufferLength: attr('bufferLength', number),
  settings: child(
    'settings',
    object({
      frequency: attr('frequency', number),
      channels: attr('channels', number),
      format: attr('format', oneOf('s8', 'u8', 's16', 'u16', 's32', 'u32', 'f32')),
    }),
  ),
};

const bufferCount = attr('bufferCount', number);
const plain = object(direction);
const alsa = object({ ...direction, dev: attr('dev', str({ max: 256 })) });
const coreaudio = object({ ...direction, bufferCount });
const jack = object({
  ...direction,
  serverName: attr('serverName', str({ max: 256 })),
  clientName: attr('clientName', str({ max: 256 })),
  connectPorts: attr('connectPorts', str({ max: 256 })),
  exactName: attr('exactName', yesNo),
});
const oss = object({
  ...direction,
  dev: attr('dev', str({ max: 256 })),
  bufferCount,
  tryPoll: attr('tryPoll', yesNo),
});
const pulse = object({
  ...direction,
  name: attr('name', str({ max: 256 })),
  streamName: attr('streamName', str({ max: 256 })),
  /** Microseconds. */
  latency: attr('latency', number),
});

const sides = <T>(codec: ElementCodec<T>) => ({
  input: child('input', codec),
  output: child('output', codec),
});

const audioKinds = {
  none: group(sides(plain)),
  dbus: group(sides(plain)),
  alsa: group(sides(alsa)),
  coreaudio: group(sides(coreaudio)),
  jack: group(sides(jack)),
  oss: group({
    tryMMap: attr('tryMMap', yesNo),
    exclusive: attr('exclusive', yesNo),
    dspPolicy: attr('dspPolicy', int({ min: -1, max: 100 })),
    ...sides(oss),
  }),
  pulseaudio: group({ serverName: attr('serverName', str({ max: 256 })), ...sides(pulse) }),
  sdl: group({ driver: attr('driver', oneOf('esd', 'alsa', 'arts', 'pulseaudio')), ...sides(coreaudio) }),
  spice: group(sides(plain)),
  file: group({ path: attr('path', str({ min: 1 })), ...sides(plain) }),
};

const audioUnion = object({
  value: kinds('type', audioKinds),
});

/** One audio backend, by its `type`; `id` is what cards and displays refer to, from 1. */
export type Audio = { id: number; timerPeriodMicros?: number } & Infer<typeof audioUnion>['value'];

const head = group({ id: need('id', uint({ max: 255 })), timerPeriodMicros: attr('timerPeriod', number) });

export const audioCodec: ElementCodec<Audio> = {
  read(reader) {
    const first = head.read(reader);
    return { ...first, ...audioUnion.read(reader).value } as Audio;
  },
  write(element, value, options) {
    head.write(element, value, options);
    audioUnion.write(element, { value }, options);
  },
};
