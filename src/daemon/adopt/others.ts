/** Pools, secrets and filters of a libvirtd: given to the service that has such objects, else named as not possible here. */
import { join } from 'node:path';
import { reasonOf } from '../../base/errors.ts';
import {
  type DefinitionFile,
  definitionFiles,
  type LibvirtPlaces,
  readDefinition,
  uuidIn,
} from './libvirt-files.ts';
import type { AdoptedObject } from './report.ts';

/** One object as its service takes it. */
export interface OtherObject {
  readonly name: string;
  readonly xml: string;
  readonly autostart: boolean;
  /** The directory of the definition: a secret's value lies beside it, in UUID.base64. */
  readonly directory: string;
}

/** Takes an object over, or says what is in the way. With `dryRun` nothing is changed. */
export type TakeOver = (
  object: OtherObject,
  options: { readonly places: LibvirtPlaces; readonly dryRun: boolean },
) => Promise<Taken | undefined>;

/** What became of one; undefined where it is not worth a word (what both have built in). */
export type Taken = Pick<AdoptedObject, 'outcome' | 'detail'>;

/** One kind of objects. */
export interface OtherObjectKind {
  /** Whether one of that uuid or name is here. */
  readonly isKnown: (uuid: string | undefined, name: string) => boolean;
  readonly takeOver: TakeOver;
}

/** Kinds by name; what a session has no service for is missing. */
export type OtherObjects = Partial<Readonly<Record<OtherKind, OtherObjectKind>>>;

export type OtherKind = 'pool' | 'secret' | 'nwfilter';

const directories: Readonly<Record<OtherKind, string>> = {
  pool: 'storage',
  secret: 'secrets',
  nwfilter: 'nwfilter',
};

/** Where the definitions of a kind lie, with what is needed to see whether they are here. */
export function otherDefinitions(
  places: LibvirtPlaces,
): readonly { readonly kind: OtherKind; readonly directory: string; readonly files: DefinitionFile[] }[] {
  return (Object.entries(directories) as [OtherKind, string][]).map(([kind, below]) => {
    const directory = join(places.config, below);
    return { kind, directory, files: definitionFiles(directory) };
  });
}

export async function reportOthers(
  places: LibvirtPlaces,
  others: OtherObjects,
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const report: AdoptedObject[] = [];
  for (const { kind, directory, files } of otherDefinitions(places))
    for (const file of files) {
      const one = await reportOne(kind, { file, directory }, others[kind], { places, dryRun });
      if (one !== undefined) report.push(one);
    }
  return report;
}

async function reportOne(
  kind: OtherKind,
  { file, directory }: { readonly file: DefinitionFile; readonly directory: string },
  objects: OtherObjectKind | undefined,
  options: { readonly places: LibvirtPlaces; readonly dryRun: boolean },
): Promise<AdoptedObject | undefined> {
  const { name, autostart } = file;
  let uuid: string | null = null;
  try {
    const xml = await readDefinition(file.path);
    uuid = uuidIn(xml) ?? null;
    if (objects === undefined)
      return {
        kind,
        name,
        uuid,
        outcome: 'refused',
        detail: 'a session has none: they need the system daemon',
      };
    const taken = await objects.takeOver({ name, xml, autostart, directory }, options);
    return taken && { kind, name, uuid, ...taken };
  } catch (error) {
    return { kind, name, uuid, outcome: 'refused', detail: reasonOf(error) };
  }
}
