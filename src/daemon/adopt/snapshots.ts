/** Snapshots of a libvirtd's domains: their documents, which come over with the domains. What is in images stays there. */
import { basename, join } from 'node:path';
import { reasonOf } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { formatSnapshot, parseSnapshot, type SnapshotDef } from '../../model/snapshot/snapshot.ts';
import { type DomainAdoption, withOwnVariables } from './domains.ts';
import { type LibvirtPlaces, names, readPlain } from './libvirt-files.ts';
import type { AdoptedObject } from './report.ts';

/** One document that could be read. */
interface Found {
  readonly name: string;
  readonly definition: SnapshotDef;
  readonly dropped: readonly string[];
}

type Fate = Pick<AdoptedObject, 'outcome' | 'detail'>;

/**
 * Each document of state/snapshot/DOMAIN (qemu_domain.c), parents first. They come with their domain only: one that was
 * deleted here must not come again, since its state is in no image any more. `domains` is what became of those.
 */
export async function adoptSnapshots(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  domains: readonly AdoptedObject[],
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const report: AdoptedObject[] = [];
  const top = join(places.state, 'snapshot');
  for (const name of names(top)) {
    const domain = domains.find((one) => one.kind === 'domain' && one.name === name);
    const tell = (snapshot: string, fate: Fate) =>
      report.push({ kind: 'snapshot', name: `${name}/${snapshot}`, uuid: null, ...fate });
    const found = await readAll(places, join(top, name), (file, error) => tell(file, refused(error)));
    for (const [one, fate] of await fates(places, adoption, { domain, found, dryRun })) tell(one.name, fate);
  }
  return report;
}

const refused = (error: unknown): Fate => ({ outcome: 'refused', detail: reasonOf(error) });

async function readAll(
  places: LibvirtPlaces,
  directory: string,
  onBroken: (name: string, error: unknown) => void,
): Promise<Found[]> {
  const found: Found[] = [];
  for (const file of names(directory).filter((name) => name.endsWith('.xml'))) {
    const name = basename(file, '.xml');
    try {
      const xml = (await readPlain(places, join(directory, file))).toString('utf8');
      const { definition, dropped } = parseSnapshot(xml, { mode: 'lenient' });
      if (definition.name !== name) throw new Error(`its file has another name than '${definition.name}'`);
      found.push({ name, definition, dropped });
    } catch (error) {
      onBroken(name, error);
    }
  }
  return parentsFirst(found);
}

/** Those whose parent never comes stand at the end. */
function parentsFirst(found: readonly Found[]): Found[] {
  const sorted: Found[] = [];
  let left = [...found];
  for (;;) {
    const ready = left.filter(({ definition: { parent } }) => isIn(sorted, parent?.name));
    if (ready.length === 0) return [...sorted, ...left];
    sorted.push(...ready);
    left = left.filter((one) => !ready.includes(one));
  }
}

const isIn = (list: readonly Pick<Found, 'name'>[], parent: string | undefined): boolean =>
  parent === undefined || list.some(({ name }) => name === parent);

async function fates(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  {
    domain,
    found,
    dryRun,
  }: {
    readonly domain: AdoptedObject | undefined;
    readonly found: readonly Found[];
    readonly dryRun: boolean;
  },
): Promise<[Found, Fate][]> {
  const uuid = domain?.uuid ?? undefined;
  if (domain?.outcome === 'present' && uuid !== undefined)
    return found.map((one) => [one, ofPresent(adoption, uuid, one.name)]);
  if (domain?.outcome !== 'adopted' || uuid === undefined)
    return found.map((one) => [one, { outcome: 'refused', detail: 'its domain did not come over' }]);
  const fatesSoFar: [Found, Fate][] = [];
  const taken: Found[] = [];
  for (const one of found) {
    let fate: Fate;
    try {
      fate = await takeOver(places, adoption, { uuid, one, taken, dryRun });
      taken.push(one);
    } catch (error) {
      fate = refused(error);
    }
    fatesSoFar.push([one, fate]);
  }
  return fatesSoFar;
}

function ofPresent({ service }: DomainAdoption, uuid: string, name: string): Fate {
  if (service.snapshots.treeOf(service.find({ uuid })).has(name)) return { outcome: 'present', detail: null };
  return {
    outcome: 'refused',
    detail:
      'snapshots come with their domain only, which is here already; virsh snapshot-create DOMAIN FILE --redefine takes one in',
  };
}

/** @throws VirtError, Error that says why not */
async function takeOver(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  what: {
    readonly uuid: string;
    readonly one: Found;
    readonly taken: readonly Found[];
    readonly dryRun: boolean;
  },
): Promise<Fate> {
  const { uuid, one, taken, dryRun } = what;
  const { definition, dropped } = one;
  if (!isIn(taken, definition.parent?.name))
    throw new Error(`its parent '${definition.parent?.name}' did not come over`);
  if (definition.domain?.uuid !== undefined && definition.domain.uuid !== uuid)
    throw new Error(`it is of another domain, with uuid ${definition.domain.uuid}`);
  if (definition.state === undefined) throw new Error('it has no state');
  if (!dryRun) await define(places, adoption, uuid, definition);
  return { outcome: 'adopted', detail: dropped.length > 0 ? `without ${dropped.join(', ')}` : null };
}

async function define(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  uuid: string,
  definition: SnapshotDef,
): Promise<void> {
  const { service } = adoption;
  const own = (domain: DomainDef | undefined) => domain && withOwnVariables(places, adoption, domain);
  const moved = {
    ...definition,
    domain: own(definition.domain),
    inactiveDomain: own(definition.inactiveDomain),
  };
  await service.snapshots.define(service.find({ uuid }), formatSnapshot(moved, { secure: true, uuid }), {
    mode: 'lenient',
    // libvirt's mark in the file of the one that the domain's state comes from.
    makeCurrent: definition.active === 1,
  });
}
