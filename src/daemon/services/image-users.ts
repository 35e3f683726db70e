/** Who uses images besides one domain: the other domains, and volumes that lie on them. */
import type { DiskDirectory } from './pool-world.ts';
import type { ImageUsers } from './snapshot-world.ts';
import type { StorageService } from './storage-service.ts';

export function imageUsers(storage: StorageService, disks: DiskDirectory): ImageUsers {
  return {
    find: async (domainUuid, known) => {
      const users = new Map<string, string>();
      for (const { name: pool, live } of storage.list())
        for (const { name, path, backing } of live?.volumes.values() ?? [])
          if (backing !== undefined && !known(path)) users.set(backing.path, `volume '${pool}/${name}'`);
      for (const { domain, paths, as } of await disks.disks())
        if (domain.uuid !== domainUuid)
          for (const path of paths) users.set(path, `domain '${domain.name}' (${as})`);
      return users;
    },
  };
}
