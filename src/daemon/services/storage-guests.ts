/** What storage asks of domains: which files they use, what for, and in which format. */
import { isVirtError } from '../../base/errors.ts';
import { Turns } from '../../base/turns.ts';
import { type BackingStore, encryptionOf } from '../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { SecretReference } from '../../model/secret/secret.ts';
import type { Snapshot } from '../../model/snapshot/snapshot.ts';
import type { Domain } from './domain.ts';
import type { DomainService } from './domain-service.ts';
import type { DiskDirectory, DiskUse } from './pool-world.ts';
import { referenceOf } from './volume-secrets.ts';
import { parseTrusted } from './world.ts';

type Disk = DomainDef['devices']['disks'][number];
type Uses = readonly Omit<DiskUse, 'domain' | 'isActive'>[];

/** `domains` is asked for when it is needed. What a stored definition says is kept as long as its text is the same. */
export function diskDirectory(domains: () => DomainService): DiskDirectory {
  const stored = new WeakMap<Domain, { readonly xml: string; readonly uses: Uses }>();
  const storedUses = (domain: Domain): Uses => {
    const { xml } = domain;
    if (xml === undefined) return [];
    const known = stored.get(domain);
    if (known?.xml === xml) return known.uses;
    const uses = usesOfXml(xml);
    stored.set(domain, { xml, uses });
    return uses;
  };
  return {
    async disks() {
      const turns = new Turns();
      const found: DiskUse[] = [];
      for (const domain of domains().list()) {
        const { uuid, name } = domain;
        const isActive = domain.isActive;
        const live = domain.live?.guest.definition;
        const uses = [
          ...(live === undefined ? [] : usesOf(live)),
          ...usesOfBackup(domain),
          ...storedUses(domain),
          ...domains().snapshots.treeOf(domain).all.flatMap(usesOfSnapshot),
        ];
        for (const use of uses) found.push({ domain: { uuid, name }, isActive, ...use });
        await turns.share();
      }
      return found;
    },
  };
}

/** The images that a backup in work writes. */
function usesOfBackup({ live }: Domain): Uses {
  const { disks = [] } = live?.guest.backup.record ?? {};
  return disks.map(({ disk, file, format }) => ({ as: `backup of disk ${disk}`, paths: [file], format }));
}

/** A definition that cannot be read is told where it is used; here it names nothing. */
function usesOfXml(xml: string): Uses {
  try {
    return usesOf(parseTrusted(xml));
  } catch (error) {
    if (isVirtError(error)) return [];
    throw error;
  }
}

/** What a snapshot keeps outside of images that the domain has now. */
function usesOfSnapshot({ name, domain, disks, memory }: Snapshot): Uses {
  const kept = domain?.devices.disks.filter(({ target }) =>
    disks.some((one) => one.name === target.dev && one.snapshot !== 'no'),
  );
  const file: Uses =
    memory?.file === undefined
      ? []
      : [{ as: `memory of snapshot '${name}'`, paths: [memory.file], format: 'raw', isSnapshot: true }];
  return [
    ...(kept ?? []).flatMap((disk) =>
      useOfDisk(disk).map((use) => ({
        ...use,
        as: `snapshot '${name}' of ${use.as}`,
        isSnapshot: true as const,
      })),
    ),
    ...file,
  ];
}

/** Every file that a domain names: disks with their layers, firmware and its variables, what it boots directly. */
function usesOf({ devices, os }: DomainDef): Uses {
  return [...devices.disks.flatMap((disk) => useOfDisk(disk)), ...useOfBoot(os)];
}

function useOfBoot({ loader, nvram, kernel, initrd, dtb, shim }: DomainDef['os']): Uses {
  const file = (as: string, path: string | undefined, format: 'raw' | 'qcow2' = 'raw'): Uses =>
    path === undefined ? [] : [{ as, paths: [path], format }];
  const variables = nvram?.source?.type === 'file' ? nvram.source.file : nvram?.path;
  return [
    ...file('firmware', loader?.path, loader?.format),
    ...file('nvram', variables, nvram?.format),
    ...file('nvram template', nvram?.template, nvram?.templateFormat),
    ...file('kernel', kernel),
    ...file('initrd', initrd),
    ...file('device tree', dtb),
    ...file('shim', shim),
  ];
}

function useOfDisk(disk: Disk): Uses {
  const as = `${disk.device} ${disk.target.dev}`;
  const below = layersBelow(disk);
  const top = pathOf(disk.source);
  const lower = below.flatMap(({ source }) => pathOf(source));
  const format = plainFormat(disk.driver?.type ?? 'raw');
  const encryption = encryptionOf(disk);
  const secret = encryption && referenceOf(encryption);
  const own: Uses =
    top.length > 0
      ? [{ as, paths: [...top, ...lower], format, ...(secret && { secret }) }]
      : below.flatMap(({ source, format: { type } }) =>
          pathOf(source).map((path) => ({ as: `below ${as}`, paths: [path], format: plainFormat(type) })),
        );
  const named = [
    useOfVolume(as, disk.source, secret),
    ...below.map(({ source }) => useOfVolume(`below ${as}`, source)),
  ];
  const copy = disk.mirror === undefined ? [] : pathOf(disk.mirror.source);
  return [
    ...own,
    ...named.flat(),
    ...copy.map((path): Uses[number] => ({
      as: `copy of ${as}`,
      paths: [path],
      format: disk.mirror?.format?.type ?? 'raw',
    })),
  ];
}

function layersBelow(disk: Disk): BackingStore[] {
  const layers: BackingStore[] = [];
  for (let below = disk.backingStore; below; below = below.backingStore) layers.push(below);
  return layers;
}

/** `aio` is an old word of Xen's for raw. */
function plainFormat(type: string): Uses[number]['format'] {
  return type === 'aio' ? 'raw' : (type as Uses[number]['format']);
}

function useOfVolume(as: string, source: Disk['source'], secret?: SecretReference): Uses {
  if (source.type !== 'volume' || source.pool === undefined || source.volume === undefined) return [];
  return [
    {
      as,
      paths: [],
      format: 'raw',
      volume: { pool: source.pool, name: source.volume },
      ...(secret && { secret }),
    },
  ];
}

function pathOf(source: Disk['source']): string[] {
  if (source.type === 'file' && source.file !== undefined) return [source.file];
  return source.type === 'block' && source.dev !== undefined ? [source.dev] : [];
}
