/** Pools, secrets and filters of a libvirtd: given to the service that has such objects, else named as not yet possible. */
import { join } from 'node:path';
import { reasonOf } from '../../base/errors.ts';
import { builtInFilter } from '../../model/nwfilter/built-in.ts';
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
type TakeOver = (
  object: OtherObject,
  options: { readonly dryRun: boolean },
) => Promise<Pick<AdoptedObject, 'outcome' | 'detail'>>;

/** Services that take over objects of their kind. */
export type OtherObjects = Partial<Readonly<Record<OtherKind, TakeOver>>>;

type OtherKind = 'pool' | 'secret' | 'nwfilter';

const directories: Readonly<Record<OtherKind, string>> = {
  pool: 'storage',
  secret: 'secrets',
  nwfilter: 'nwfilter',
};

/** Filters that both have built in are not mentioned. */
export async function reportOthers(
  places: LibvirtPlaces,
  others: OtherObjects,
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const report: AdoptedObject[] = [];
  for (const [kind, below] of Object.entries(directories) as [OtherKind, string][]) {
    const directory = join(places.config, below);
    for (const file of definitionFiles(directory))
      if (kind !== 'nwfilter' || builtInFilter(file.name) === undefined)
        report.push(await reportOne(kind, { file, directory }, others[kind], dryRun));
  }
  return report;
}

async function reportOne(
  kind: OtherKind,
  { file, directory }: { readonly file: DefinitionFile; readonly directory: string },
  take: TakeOver | undefined,
  dryRun: boolean,
): Promise<AdoptedObject> {
  const { name, autostart } = file;
  let uuid: string | null = null;
  try {
    const xml = await readDefinition(file.path);
    uuid = uuidIn(xml) ?? null;
    if (take !== undefined)
      return { kind, name, uuid, ...(await take({ name, xml, autostart, directory }, { dryRun })) };
    return { kind, name, uuid, outcome: 'later', detail: 'this version does not have such objects yet' };
  } catch (error) {
    return { kind, name, uuid, outcome: 'refused', detail: reasonOf(error) };
  }
}
