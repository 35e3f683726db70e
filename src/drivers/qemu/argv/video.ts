/** Graphics cards. */
import type { Video, VideoModel } from '../../../model/domain/devices/graphics.ts';
import { aliasOf, placement } from './address.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';
import { refuseVirtioOptions, virtioOptions } from './virtio.ts';

const KIB = 1024;

/** All of <video>; the primary one is the first, unless another says so. */
export function buildVideos(b: Build): void {
  const { videos } = b.definition.devices;
  const chosen = videos.findIndex((video) => video.model?.primary === true);
  for (const [index, video] of videos.entries()) buildVideo(b, video, index, index === Math.max(chosen, 0));
}

function buildVideo(b: Build, video: Video, index: number, isPrimary: boolean): void {
  const path = `devices.video[${index}]`;
  const { model } = video;
  if (model === undefined) {
    b.problem(`${path}.model`, 'is missing');
    return;
  }
  if (model.type === 'none') return;
  if (video.driver?.name === 'vhostuser') b.problem(`${path}.driver.name`, `'vhostuser' is not supported`);
  b.refuse(`${path}.driver`, { vgaconf: video.driver?.vgaconf }, 'is of another hypervisor');
  if (model.type !== 'virtio') refuseVirtioOptions(b, path, video.driver);
  const driver = deviceFor(b, model, isPrimary, path);
  if (driver === undefined) return;
  b.device(path, {
    driver,
    ...(model.type === 'virtio' ? virtioOptions(video.driver) : {}),
    ...memoryOf(b, model, path),
    max_outputs: outputs(b, model, path),
    xres: model.resolution === undefined ? undefined : b.property(path, driver, 'xres', model.resolution.x),
    yres: model.resolution === undefined ? undefined : b.property(path, driver, 'yres', model.resolution.y),
    ...(model.type === 'ramfb' ? { id: aliasOf(video, path) } : placement(b, video, path)),
  });
}

function deviceFor(b: Build, model: VideoModel, isPrimary: boolean, path: string): string | undefined {
  refuseAcceleration(b, model, path);
  switch (model.type) {
    case 'qxl':
      return isPrimary ? 'qxl-vga' : 'qxl';
    case 'virtio':
      return virtioCard(b, model, isPrimary);
    case 'bochs':
      return 'bochs-display';
    case 'vga':
    case 'cirrus':
    case 'vmvga':
    case 'ramfb':
      if (!isPrimary) b.problem(path, `a card of type '${model.type}' can only be the first`);
      return { vga: 'VGA', cirrus: 'cirrus-vga', vmvga: 'vmware-svga', ramfb: 'ramfb' }[model.type];
    default:
      b.problem(`${path}.model`, `type '${model.type}' is of another hypervisor`);
      return undefined;
  }
}

/** With VGA compatibility where a PC's firmware needs it; with OpenGL where 3D is asked for (QEMU 6.1: -gl). */
function virtioCard(b: Build, model: VideoModel, isPrimary: boolean): string {
  const base = isPrimary && b.isX86 ? 'virtio-vga' : 'virtio-gpu';
  const isPci = base === 'virtio-gpu' ? '-pci' : '';
  return model.acceleration?.accel3d ? `${base}-gl${isPci}` : `${base}${isPci}`;
}

function refuseAcceleration(b: Build, model: VideoModel, path: string): void {
  const { acceleration } = model;
  b.refuse(
    `${path}.model.acceleration`,
    { accel2d: acceleration?.accel2d || undefined },
    'is of another hypervisor',
  );
  b.refuse(`${path}.model.acceleration`, { rendernode: acceleration?.rendernode }, 'is for vhost-user cards');
  if (!acceleration?.accel3d) return;
  if (model.type !== 'virtio') b.problem(`${path}.model.acceleration`, 'needs type virtio');
  const hasOpenGl = b.definition.devices.graphics.some(
    (graphics) => graphics.type === 'egl-headless' || (graphics.type === 'spice' && graphics.gl?.enable),
  );
  if (!hasOpenGl)
    b.problem(`${path}.model.acceleration`, `needs a display with OpenGL: egl-headless, or spice with gl`);
}

function outputs(b: Build, model: VideoModel, path: string): number | undefined {
  if (model.type === 'qxl' || model.type === 'virtio') return model.heads;
  if (model.heads !== undefined && model.heads > 1)
    b.problem(`${path}.model.heads`, 'is more than this card has');
  return undefined;
}

/** Video memory. libvirt's documents count in KiB; each card has its own name and unit for it. */
function memoryOf(b: Build, model: VideoModel, path: string): JsonObject {
  const { ramKiB, vramKiB, vram64KiB, vgamemKiB } = model;
  if (model.type !== 'qxl')
    b.refuse(`${path}.model`, { ram: ramKiB, vram64: vram64KiB, vgamem: vgamemKiB }, 'needs type qxl');
  switch (model.type) {
    case 'qxl':
      return {
        ram_size: bytes(ramKiB),
        vram_size: bytes(vramKiB),
        vram64_size_mb: mebibytes(vram64KiB),
        vgamem_mb: mebibytes(vgamemKiB),
      };
    case 'vga':
    case 'vmvga':
      return { vgamem_mb: mebibytes(vramKiB) };
    case 'bochs':
      return { vgamem: bytes(vramKiB) };
    default:
      // Cirrus among them: libvirt always leaves that card at QEMU's 4 MiB, and guests see the size.
      return {};
  }
}

const bytes = (kib: number | undefined): number | undefined => (kib === undefined ? undefined : kib * KIB);
const mebibytes = (kib: number | undefined): number | undefined =>
  kib === undefined ? undefined : Math.ceil(kib / KIB);
