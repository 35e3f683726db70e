/** Standing where libvirtd stood: its files' places, and what it knew. */
import { dirname } from 'node:path';
import { statIfPresent, writeDurable } from '../base/files.ts';
import type { Logger } from '../base/log.ts';
import { qemuLogPath } from '../drivers/qemu/starting.ts';
import { LibvirtAdoption } from './adopt/adopt-libvirt.ts';
import { libvirtPlaces } from './adopt/libvirt-files.ts';
import { otherObjects } from './adopt/other-objects.ts';
import { runningGuests } from './adopt/running.ts';
import type { DaemonPaths } from './paths.ts';
import type { DomainService } from './services/domain-service.ts';
import type { EventBus } from './services/events.ts';
import { leaveTraces } from './services/libvirt-traces.ts';
import type { NetworkService } from './services/network-service.ts';

/** Files where libvirt's are, and once the offer to take over what libvirtd knew. */
export async function takeLibvirtsPlace(parts: {
  readonly paths: DaemonPaths;
  readonly domains: DomainService;
  readonly events: EventBus;
  readonly adoption: LibvirtAdoption;
  readonly log: Logger;
}): Promise<void> {
  const { paths, domains, events, adoption, log } = parts;
  await leaveTraces({
    runDirectory: paths.libvirtRuntime,
    logDirectory: paths.libvirtLogs,
    logOf: ({ live }) => live && qemuLogPath(paths.logs, live.guest.definition),
    domains,
    subscribe: (listener) => events.subscribe(listener),
    log,
  });
  if ((await statIfPresent(paths.adoptionOffered)) !== undefined) return;
  const { from, count } = await adoption.pending();
  if (count > 0)
    log.warn(
      { from, count },
      "libvirtd knew domains and networks that are not here: 'vireo adopt libvirt --dry-run' tells what would come over",
    );
  await writeDurable(paths.adoptionOffered, '');
}

/** Takes over what a libvirtd of this host, or of this user, knew. */
export function buildAdoption(
  paths: DaemonPaths,
  parts: {
    readonly domains: DomainService;
    readonly networks: NetworkService | undefined;
    readonly log: Logger;
  } & Parameters<typeof otherObjects>[0],
): LibvirtAdoption {
  const { domains, networks, log } = parts;
  return new LibvirtAdoption({
    domains: {
      service: domains,
      isKnown: (uuid) => domains.hasUuid(uuid),
      running: runningGuests,
      nvram: paths.nvram,
      tpm: paths.tpm,
      log,
    },
    networks,
    others: otherObjects(parts),
    places: (from) =>
      libvirtPlaces(paths.mode, paths.root, from, {
        configHome: dirname(paths.config),
        runtimeHome: dirname(paths.runtime),
      }),
    log,
  });
}
