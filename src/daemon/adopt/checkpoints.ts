/** Checkpoints of a libvirtd's domains: their documents, which come over with the domains. Bitmaps are in the images. */
import { basename, join } from 'node:path';
import { reasonOf } from '../../base/errors.ts';
import { type CheckpointDef, formatCheckpoint, parseCheckpoint } from '../../model/checkpoint/checkpoint.ts';
import type { DomainAdoption } from './domains.ts';
import { type LibvirtPlaces, names, readPlain } from './libvirt-files.ts';
import type { AdoptedObject } from './report.ts';

type Fate = Pick<AdoptedObject, 'outcome' | 'detail'>;

/**
 * Each document of state/checkpoint/DOMAIN (qemu_checkpoint.c), parents first. They come with their domain only: `domains`
 * is what became of those.
 */
export async function adoptCheckpoints(
  places: LibvirtPlaces,
  { service }: DomainAdoption,
  domains: readonly AdoptedObject[],
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const report: AdoptedObject[] = [];
  const top = join(places.state, 'checkpoint');
  for (const name of names(top)) {
    const domain = domains.find((one) => one.kind === 'domain' && one.name === name);
    const tell = (checkpoint: string, fate: Fate) =>
      report.push({ kind: 'checkpoint', name: `${name}/${checkpoint}`, uuid: null, ...fate });
    const found = await readAll(places, join(top, name), (file, error) =>
      tell(file, refused(reasonOf(error))),
    );
    for (const one of found) {
      const own = one.name ?? '';
      const uuid = domain?.uuid ?? undefined;
      if (uuid === undefined || domain === undefined) tell(own, refused('its domain did not come over'));
      else if (domain.outcome === 'present')
        tell(own, service.checkpoints.treeOf({ uuid }).has(own) ? present : refused(late));
      else if (domain.outcome !== 'adopted') tell(own, refused('its domain did not come over'));
      else
        tell(
          own,
          await takeOver(one, dryRun, (xml) =>
            service.checkpoints.define(service.find({ uuid }), xml, { mode: 'lenient' }),
          ),
        );
    }
  }
  return report;
}

const present: Fate = { outcome: 'present', detail: null };
const refused = (detail: string): Fate => ({ outcome: 'refused', detail });
const late =
  'checkpoints come with their domain only, which is here already; virsh checkpoint-create DOMAIN FILE --redefine takes one in';

async function takeOver(
  one: CheckpointDef,
  dryRun: boolean,
  define: (xml: string) => Promise<unknown>,
): Promise<Fate> {
  try {
    if (!dryRun) await define(formatCheckpoint(one, { secure: true }));
    return { outcome: 'adopted', detail: null };
  } catch (error) {
    return refused(reasonOf(error));
  }
}

async function readAll(
  places: LibvirtPlaces,
  directory: string,
  onBroken: (name: string, error: unknown) => void,
): Promise<CheckpointDef[]> {
  const found: CheckpointDef[] = [];
  for (const file of names(directory).filter((name) => name.endsWith('.xml'))) {
    const name = basename(file, '.xml');
    try {
      const xml = (await readPlain(places, join(directory, file))).toString('utf8');
      const { definition } = parseCheckpoint(xml, { mode: 'lenient' });
      if (definition.name !== name) throw new Error(`its file has another name than '${definition.name}'`);
      found.push(definition);
    } catch (error) {
      onBroken(name, error);
    }
  }
  return parentsFirst(found);
}

/** Those whose parent never comes stand at the end, where they are refused. */
function parentsFirst(found: readonly CheckpointDef[]): CheckpointDef[] {
  const sorted: CheckpointDef[] = [];
  for (let left = [...found]; ; ) {
    const ready = left.filter(
      ({ parent }) => parent === undefined || sorted.some(({ name }) => name === parent.name),
    );
    if (ready.length === 0) return [...sorted, ...left];
    sorted.push(...ready);
    left = left.filter((one) => !ready.includes(one));
  }
}
