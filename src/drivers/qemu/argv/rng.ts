/** Random number generators: an object that delivers, and the virtio device in front of it. */
import type { Rng } from '../../../model/domain/devices/small.ts';
import { aliasOf, placement } from './address.ts';
import { buildChardev } from './chardev.ts';
import type { Build } from './context.ts';
import { virtioDevice, virtioOptions } from './virtio.ts';

/** All of <rng>. */
export function buildRngs(b: Build): void {
  for (const [index, rng] of b.definition.devices.rngs.entries()) {
    const path = `devices.rng[${index}]`;
    b.device(path, {
      driver: virtioDevice('virtio-rng-pci', rng.model),
      rng: buildBackend(b, rng, path),
      'max-bytes': rng.rate?.bytes,
      // QEMU's own default, said for the reader: the rate is bytes each period, in ms.
      period: rng.rate === undefined ? undefined : (rng.rate.periodMs ?? 1000),
      ...virtioOptions(rng.driver),
      ...placement(b, rng, path),
    });
  }
}

function buildBackend(b: Build, rng: Rng, path: string): string {
  const alias = aliasOf(rng, path);
  const id = `obj${alias}`;
  switch (rng.backend.model) {
    case 'random':
      b.object(path, { 'qom-type': 'rng-random', id, filename: entropyFile(b, rng.backend.path, path) });
      break;
    case 'builtin':
      b.object(path, { 'qom-type': 'rng-builtin', id });
      break;
    case 'egd': {
      const chardev = buildChardev(b, {
        alias,
        source: rng.backend.source,
        log: rng.backend.log,
        path: `${path}.backend`,
      });
      b.object(path, { 'qom-type': 'rng-egd', id, chardev });
      break;
    }
  }
  return id;
}

/** Everybody may read the kernel's own generators; any other device comes as a descriptor. */
function entropyFile(b: Build, file: string | undefined, path: string): string {
  if (file === undefined || file === '/dev/urandom') return '/dev/urandom';
  if (file === '/dev/random') return file;
  return b.file(file, 'ro', `${path}.backend`, { device: true });
}
