/** Puts cloud images together: the catalogue's service, and guests made of its images. */
import type { Logger } from '../base/log.ts';
import { qemuImgTools } from '../storage/qemu-img-tools.ts';
import type { DaemonConfig } from './config.ts';
import type { DaemonPaths } from './paths.ts';
import { ImageGuests } from './services/domain-image.ts';
import type { DomainService } from './services/domain-service.ts';
import { ImageService } from './services/images.ts';
import type { StorageService } from './services/storage-service.ts';
import { PulledImages } from './state/pulled-images.ts';
import { importSettings } from './storage.ts';

export function buildImages(parts: {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly log: Logger;
  readonly storage: StorageService;
  readonly domains: DomainService;
  readonly hostArch: string;
}): { readonly images: ImageService; readonly imageGuests: ImageGuests } {
  const { paths, config, log, storage, domains, hostArch } = parts;
  const images = new ImageService({
    storage,
    records: new PulledImages({ directory: paths.pulledImages, log }),
    mirrors: config.catalogue,
    policy: importSettings(paths, config).policy,
    hostArch,
  });
  return { images, imageGuests: new ImageGuests({ storage, images, domains, tools: qemuImgTools }) };
}
