/** Takes over what a libvirtd of this host knew: copies its definitions and marks, and tells what became of each. */
import { isVirtError, reasonOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { NetworkService } from '../services/network-service.ts';
import { adoptCheckpoints } from './checkpoints.ts';
import { adoptDomains, type DomainAdoption } from './domains.ts';
import { definitionFiles, isFile, type LibvirtPlaces, readDefinition, uuidIn } from './libvirt-files.ts';
import { adoptNetworks } from './networks.ts';
import { type OtherObjects, otherDefinitions, reportOthers } from './others.ts';
import type { AdoptionReport } from './report.ts';
import { adoptSnapshots } from './snapshots.ts';

export interface AdoptionOptions {
  readonly domains: DomainAdoption;
  /** Undefined in a session. */
  readonly networks: NetworkService | undefined;
  /** Services that take what is neither domain nor network. */
  readonly others: OtherObjects;
  /** The places of this daemon's libvirt, or of the one below another root. */
  readonly places: (from: string | undefined) => LibvirtPlaces;
  readonly log: Logger;
}

export class LibvirtAdoption {
  private readonly options: AdoptionOptions;

  constructor(options: AdoptionOptions) {
    this.options = options;
  }

  /**
   * Copies what is there and not here yet; nothing is changed there, and no running guest is touched. Can be done again:
   * what came over is `present` then. One object that fails does not stop the others.
   * @throws VirtError file.denied when the directories cannot be read
   */
  async adopt(request: { readonly from?: string; readonly dryRun: boolean }): Promise<AdoptionReport> {
    const { domains, networks, others, log } = this.options;
    const places = this.options.places(request.from);
    const { dryRun } = request;
    // Networks first: guests are on them. Domains last that other parts belong to.
    const before = [
      ...(await adoptNetworks(places, networks, dryRun)),
      ...(await reportOthers(places, others, dryRun)),
    ];
    const taken = await adoptDomains(places, domains, dryRun);
    const objects = [
      ...before,
      ...taken,
      ...(await adoptSnapshots(places, domains, taken, dryRun)),
      ...(await adoptCheckpoints(places, domains, taken, dryRun)),
    ];
    if (!dryRun) {
      const count = (outcome: string) => objects.filter((object) => object.outcome === outcome).length;
      log.info(
        {
          from: places.config,
          adopted: count('adopted'),
          present: count('present'),
          refused: count('refused'),
        },
        'took over what libvirtd knew',
      );
    }
    return { from: places.config, dryRun, objects };
  }

  /** How many of libvirt's objects are not here, for the host check; 0 where nothing can be read. */
  async pending(): Promise<{ readonly from: string; readonly count: number }> {
    const places = this.options.places(undefined);
    try {
      return { from: places.config, count: await this.countPending(places) };
    } catch (error) {
      if (!isVirtError(error)) throw error;
      // Another's files, which we may not read, are nothing that we could take over.
      this.options.log.debug({ reason: reasonOf(error) }, "libvirt's files could not be counted");
      return { from: places.config, count: 0 };
    }
  }

  private async countPending(places: LibvirtPlaces): Promise<number> {
    const { domains, networks, others } = this.options;
    const files = [
      ...definitionFiles(`${places.config}/qemu`).map((file) => ({ ...file, isKnown: domains.isKnown })),
      ...definitionFiles(`${places.config}/qemu/networks`).map((file) => ({
        ...file,
        isKnown: (uuid: string) => networks?.hasUuid(uuid) ?? true,
      })),
      ...otherDefinitions(places).flatMap(({ kind, files: ofKind }) =>
        ofKind.map((file) => ({
          ...file,
          isKnown: (uuid: string) => others[kind]?.isKnown(uuid, file.name) ?? true,
        })),
      ),
    ];
    let count = 0;
    for (const { path, isKnown } of files) {
      if (!isFile(path)) continue;
      const uuid = uuidIn(await readDefinition(path));
      if (uuid !== undefined && !isKnown(uuid)) count++;
    }
    return count;
  }
}
