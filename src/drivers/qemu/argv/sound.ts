/** Sound cards, and the audio back ends they play through. */
import type { Audio, Sound } from '../../../model/domain/devices/sound.ts';
import { aliasOf, placement } from './address.ts';
import type { Build } from './context.ts';

type Value = string | number | boolean | undefined;

/** All of <audio> and <sound>. Audio comes first: cards and display servers name it. */
export function buildAudios(b: Build): void {
  const { audios, sounds } = b.definition.devices;
  for (const [index, audio] of audios.entries()) buildAudio(b, audio, `devices.audio[${index}]`);
  // A card with nothing to play through would make QEMU choose a back end of the host by itself.
  if (audios.length === 0 && sounds.length > 0) buildAudio(b, { id: 1, type: 'none' }, 'devices.audio');
}

const drivers = {
  none: 'none',
  alsa: 'alsa',
  oss: 'oss',
  pulseaudio: 'pa',
  jack: 'jack',
  sdl: 'sdl',
  spice: 'spice',
  coreaudio: 'coreaudio',
  dbus: 'dbus',
} as const;

function buildAudio(b: Build, audio: Audio, path: string): void {
  if (audio.type === 'file') {
    b.problem(`${path}.type`, `'file' is not supported`);
    return;
  }
  const driver = drivers[audio.type];
  if (!b.caps.audiodevs.includes(driver)) b.lacks(path, `audio back end '${driver}'`);
  b.pairs('-audiodev', [
    ['', driver],
    ['id', `audio${audio.id}`],
    ['timer-period', audio.timerPeriodMicros],
    ...ownOptions(b, audio, path),
    ...sideOptions('in', audio.input),
    ...sideOptions('out', audio.output),
  ]);
}

function ownOptions(b: Build, audio: Audio, path: string): [string, Value][] {
  switch (audio.type) {
    case 'oss':
      return [
        ['try-mmap', audio.tryMMap],
        ['exclusive', audio.exclusive],
        ['dsp-policy', audio.dspPolicy],
      ];
    case 'pulseaudio':
      return [['server', audio.serverName]];
    case 'sdl':
      b.refuse(path, { driver: audio.driver }, 'would need an environment variable of SDL');
      return [];
    default:
      return [];
  }
}

type Side = NonNullable<Audio['input']>;

/** Keys of one direction, in QEMU's names (qapi/audio.json). */
function sideOptions(prefix: 'in' | 'out', side: Audio['input']): [string, Value][] {
  if (side === undefined) return [];
  const { mixingEngine, fixedSettings, voices, bufferLength, settings } = side;
  const options: Record<string, Value> = {
    'mixing-engine': mixingEngine,
    'fixed-settings': fixedSettings,
    voices,
    'buffer-length': bufferLength,
    frequency: settings?.frequency,
    channels: settings?.channels,
    format: settings?.format,
    ...extraOptions(side),
  };
  return Object.entries(options).map(([key, value]) => [`${prefix}.${key}`, value]);
}

const extraNames: Readonly<Record<string, string>> = {
  dev: 'dev',
  bufferCount: 'buffer-count',
  tryPoll: 'try-poll',
  name: 'name',
  streamName: 'stream-name',
  latency: 'latency',
  serverName: 'server-name',
  clientName: 'client-name',
  connectPorts: 'connect-ports',
  exactName: 'exact-name',
};

function extraOptions(side: Side): Record<string, Value> {
  const found: Record<string, Value> = {};
  for (const [key, value] of Object.entries(side))
    if (extraNames[key] !== undefined) found[extraNames[key]] = value as Value;
  return found;
}

/** All of <sound>. */
export function buildSounds(b: Build): void {
  for (const [index, sound] of b.definition.devices.sounds.entries())
    buildSound(b, sound, `devices.sound[${index}]`);
}

function buildSound(b: Build, sound: Sound, path: string): void {
  const audiodev = `audio${sound.audioId ?? b.definition.devices.audios[0]?.id ?? 1}`;
  const hasCodecs = sound.model === 'ich6' || sound.model === 'ich9';
  if (!hasCodecs) b.refuse(path, { codec: sound.codecs }, `is not known for model '${sound.model}'`);
  switch (sound.model) {
    case 'ich6':
    case 'ich9':
      return buildHda(b, sound, path, audiodev);
    case 'ac97':
      return b.device(path, { driver: 'AC97', audiodev, ...placement(b, sound, path) });
    case 'es1370':
      return b.device(path, { driver: 'ES1370', audiodev, ...placement(b, sound, path) });
    case 'usb':
      return b.device(path, { driver: 'usb-audio', audiodev, ...placement(b, sound, path) });
    case 'sb16':
      return b.device(path, { driver: 'sb16', audiodev, id: aliasOf(sound, path) });
    case 'pcspk':
      if (!b.isX86) b.problem(path, `is only there on x86, not on ${b.arch}`);
      return b.pairs('-machine', [['pcspk-audiodev', audiodev]]);
    case 'ich7':
      b.problem(`${path}.model`, `'ich7' is not offered by QEMU; use ich6 or ich9`);
  }
}

function buildHda(b: Build, sound: Sound, path: string, audiodev: string): void {
  const alias = aliasOf(sound, path);
  b.device(path, {
    driver: sound.model === 'ich9' ? 'ich9-intel-hda' : 'intel-hda',
    ...placement(b, sound, path),
  });
  const codecs = sound.codecs.length > 0 ? sound.codecs : [{ type: 'duplex' as const }];
  for (const [cad, codec] of codecs.entries())
    b.device(`${path}.codec[${cad}]`, {
      driver: `hda-${codec.type}`,
      id: `${alias}-codec${cad}`,
      bus: `${alias}.0`,
      cad,
      audiodev,
    });
}
