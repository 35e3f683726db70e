/** The services of cloud images over those of a test, with mirrors of its own. */
import { join } from 'node:path';
import { silentLogger } from '../../src/base/log.ts';
import { ImageGuests } from '../../src/daemon/services/domain-image.ts';
import type { DomainService } from '../../src/daemon/services/domain-service.ts';
import { ImageService } from '../../src/daemon/services/images.ts';
import type { StorageService } from '../../src/daemon/services/storage-service.ts';
import { PulledImages } from '../../src/daemon/state/pulled-images.ts';
import { plainImages } from './storage-rig.ts';

export function imageServices(parts: {
  readonly storage: StorageService;
  readonly domains: DomainService;
  readonly directory: string;
}): { readonly images: ImageService; readonly imageGuests: ImageGuests } {
  const { storage, domains, directory } = parts;
  const records = new PulledImages({ directory: join(directory, 'images'), log: silentLogger });
  const images = new ImageService({
    ...{ storage, records, mirrors: {}, policy: { allowed: [] }, hostArch: 'x86_64' },
  });
  return { images, imageGuests: new ImageGuests({ storage, images, domains, tools: plainImages }) };
}
