/** Methods about devices onto the domain service. */
import type { Params } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Domain } from '../../services/domain.ts';
import type { DeviceName } from '../../services/domain-devices.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type DeviceHandlers = Pick<
  Handlers,
  'domain.attach-device' | 'domain.detach-device' | 'domain.update-device' | 'domain.change-media'
>;

export function bindDevices(domains: DomainService): DeviceHandlers {
  const find = domainFinder(domains);
  return {
    'domain.attach-device': async ({ domain: ref, live, stored, ...wish }) => ({
      alias: (await attach(domains, find(ref), { ...wish, live, stored })) ?? null,
    }),
    'domain.detach-device': async ({ domain, xml, device, ...targets }) => ({
      released: await domains.devices.detach(find(domain), nameOf(xml, device), targets),
    }),
    'domain.update-device': async ({ domain, xml, ...options }) => {
      await domains.devices.update(find(domain), { xml, mode: 'strict' }, options);
      return {};
    },
    'domain.change-media': async ({ domain, device, path, volume, format, force, ...targets }) => {
      const source = mediumOf(path, volume);
      await domains.devices.changeMedia(find(domain), device, { source, format, force }, targets);
      return {};
    },
  };
}

type AttachParams = Omit<Params<'domain.attach-device'>, 'domain'>;

async function attach(
  domains: DomainService,
  domain: Domain,
  { xml, disk, network, ...targets }: AttachParams,
): Promise<string | undefined> {
  const given = [xml, disk, network].filter((one) => one !== undefined).length;
  if (given !== 1) throw wrongCount('attach', 'xml, disk and network');
  const { devices } = domains;
  if (xml !== undefined) return devices.attach(domain, { xml, mode: 'strict' }, targets);
  if (disk !== undefined) {
    const made: (() => Promise<void>)[] = [];
    try {
      const prepared = await domains.creation.prepareDisk(disk, { name: domain.name, made, warnings: [] });
      return await devices.attachDisk(domain, prepared, targets);
    } catch (error) {
      // An image that no guest got is nobody's.
      await Promise.all(made.map((undo) => undo()));
      throw error;
    }
  }
  return network && devices.attachCard(domain, network, targets);
}

function nameOf(xml: string | undefined, word: string | undefined): DeviceName {
  if (xml !== undefined && word === undefined) return { xml, mode: 'strict' };
  if (word !== undefined && xml === undefined) return { word };
  throw wrongCount('detach', 'xml and device');
}

function wrongCount(verb: string, names: string): VirtError {
  return new VirtError('request.invalid', {
    wanted: `${verb} a device`,
    reason: `of ${names} exactly one has to be given`,
  });
}

function mediumOf(
  path: string | null | undefined,
  volume: Params<'domain.change-media'>['volume'],
): Disk['source'] | null {
  if ((path === undefined) === (volume === undefined))
    throw wrongCount('change the medium of', 'path and volume');
  if (volume !== undefined)
    return { type: 'volume', pool: volume.pool, volume: volume.name, slices: [], seclabels: [] };
  return path === undefined || path === null ? null : sourceOf(path);
}

function sourceOf(path: string): Disk['source'] {
  const isDevice = path.startsWith('/dev/') && !path.startsWith('/dev/shm/');
  return isDevice
    ? { type: 'block', dev: path, slices: [], seclabels: [] }
    : { type: 'file', file: path, slices: [], seclabels: [] };
}
