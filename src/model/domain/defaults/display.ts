/** Defaults of what people see, hear and type with: graphics, video, audio, inputs. */
import type { Graphics } from '../devices/graphics.ts';
import { familyOf, isX86 } from '../machine.ts';
import { type DefaultsFacts, type Draft, hasDevice } from './facts.ts';

type Devices = Draft['devices'];
type VideoModel = NonNullable<Devices['videos'][number]['model']>;

export function defaultGraphics(draft: Draft): void {
  for (const graphics of draft.devices.graphics) {
    if (graphics.type !== 'vnc' && graphics.type !== 'spice' && graphics.type !== 'rdp') continue;
    // Without an address it is this host only; which one is written down when the guest starts.
    if (graphics.listens.length === 0) graphics.listens.push({ type: 'address' });
    // With automatic ports a TLS port comes with TLS, asked for or not.
    if (graphics.type === 'spice' && graphics.autoport && graphics.tlsPort === -1) delete graphics.tlsPort;
    if (graphics.type === 'spice') withoutPorts(graphics);
  }
}

/**
 * SPICE without any port (`autoport='no'` alone: GNOME Boxes) listens nowhere, and is reached by a descriptor from us.
 * libvirt writes that down as a listen of type none.
 */
function withoutPorts(spice: Extract<Graphics, { type: 'spice' }>): void {
  const [listen] = spice.listens;
  const hasPort = spice.autoport || spice.port !== undefined || spice.tlsPort !== undefined;
  if (hasPort || listen?.type !== 'address') return;
  spice.listens = [{ type: 'none' }];
  spice.autoport = true;
}

function defaultVideoType(draft: Draft, facts: DefaultsFacts): VideoModel['type'] {
  if (!isX86(draft.os.type.arch)) return draft.os.type.arch?.startsWith('ppc') ? 'vga' : 'virtio';
  if (hasDevice(facts, 'cirrus-vga')) return 'cirrus';
  return hasDevice(facts, 'VGA') ? 'vga' : 'virtio';
}

/** Memory of a card in KiB, as libvirt chooses it. */
const videoMemory: Readonly<Partial<Record<VideoModel['type'], Partial<VideoModel>>>> = {
  vga: { vramKiB: 16_384 },
  cirrus: { vramKiB: 16_384 },
  vmvga: { vramKiB: 16_384 },
  bochs: { vramKiB: 16_384 },
  qxl: { ramKiB: 65_536, vramKiB: 65_536, vgamemKiB: 16_384 },
};

export function defaultVideos(draft: Draft, facts: DefaultsFacts): void {
  const { videos, graphics } = draft.devices;
  if (videos.length === 0 && graphics.length > 0)
    videos.push({ model: { type: defaultVideoType(draft, facts) } });
  for (const video of videos) {
    video.model ??= { type: defaultVideoType(draft, facts) };
    const { model } = video;
    for (const [key, value] of Object.entries(videoMemory[model.type] ?? {}))
      (model as Record<string, unknown>)[key] ??= value;
    roundVideoMemory(model);
    if (model.type !== 'none') model.heads ??= 1;
  }
  const [first] = videos;
  const rest = videos.slice(1);
  if (
    first?.model !== undefined &&
    first.model.type !== 'none' &&
    !rest.some((video) => video.model?.primary)
  )
    first.model.primary = true;
}

/** Cards have powers of two; libvirt rounds up what is given. */
function roundVideoMemory(model: VideoModel): void {
  for (const key of ['ramKiB', 'vramKiB', 'vgamemKiB', 'vram64KiB'] as const) {
    const kib = model[key];
    if (kib !== undefined && kib > 0) model[key] = 2 ** Math.ceil(Math.log2(kib));
  }
}

/** libvirt writes down one backend when there is none, so that QEMU never picks the host's sound card. */
export function defaultAudios(draft: Draft): void {
  const { audios, graphics } = draft.devices;
  if (audios.length > 0) return;
  const kinds = new Set(graphics.map((one) => one.type));
  const type = kinds.has('spice') ? 'spice' : kinds.has('sdl') ? 'sdl' : 'none';
  audios.push({ id: 1, type });
}

type InputType = Devices['inputs'][number]['type'];

export function defaultInputs(draft: Draft): void {
  const hasPs2 = isX86(draft.os.type.arch) && familyOf(draft) !== 'microvm';
  const { inputs } = draft.devices;
  for (const input of inputs) {
    const bus = inputBus(input.type, hasPs2);
    if (bus !== undefined) input.bus ??= bus;
  }
  // The i8042 of a PC is always there, so the definition says so.
  if (hasPs2) for (const type of ['mouse', 'keyboard'] as const) addPs2(inputs, type);
}

function inputBus(type: InputType, hasPs2: boolean): 'ps2' | 'usb' | 'virtio' | undefined {
  switch (type) {
    case 'mouse':
    case 'keyboard':
      return hasPs2 ? 'ps2' : 'usb';
    case 'tablet':
      return 'usb';
    case 'passthrough':
      return 'virtio';
    default:
      return undefined;
  }
}

function addPs2(inputs: Devices['inputs'], type: 'mouse' | 'keyboard'): void {
  if (!inputs.some((input) => input.type === type && input.bus === 'ps2')) inputs.push({ type, bus: 'ps2' });
}
