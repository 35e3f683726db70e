/** Definitions of guests that are started. */
import { nic, type Parts } from './parts.ts';

/** Guests that both daemons start, with nothing that the host would have to have. */
export const liveNames: ReadonlySet<string> = new Set([
  'pc-minimal',
  'q35-minimal',
  'graphics-vnc',
  'live-chardevs',
  'live-desktop',
  'nics-pc',
  'inputs',
  'virtio-serial',
]);

export const liveParts: Readonly<Record<string, Parts>> = {
  'live-chardevs': {
    devices: `<serial type='pty'/><serial type='null'/><console type='pty'/><console type='pty'><target type='virtio'/></console><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><channel type='pty'><target type='virtio' name='mine'/></channel>`,
  },
  'live-desktop': {
    machine: 'q35',
    devices: `<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk><graphics type='vnc' port='-1' autoport='yes'/><video><model type='virtio'/></video><sound model='ich9'/><input type='tablet' bus='usb'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><watchdog model='i6300esb'/>${nic('virtio')}`,
  },
};
