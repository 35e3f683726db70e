/** Metadata of checkpoints: put aside as it is, since only libvirtd's files know of it. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { reasonOf } from '../../base/errors.ts';
import { ensureDirectory, writeDurable } from '../../base/files.ts';
import { isFile, type LibvirtPlaces, names, readPlain } from './libvirt-files.ts';
import type { AdoptedObject } from './report.ts';

/** The directory below libvirt's state. */
const kind = 'checkpoint';

/** Each file goes to KEEP/KIND/DOMAIN/NAME.xml. */
export async function adoptMetadata(
  places: LibvirtPlaces,
  keep: string,
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const report: AdoptedObject[] = [];
  const directory = join(places.state, kind);
  for (const domain of names(directory))
    for (const file of names(join(directory, domain)).filter((name) => name.endsWith('.xml'))) {
      const from = join(directory, domain, file);
      const name = `${domain}/${basename(file, '.xml')}`;
      let kept: Pick<AdoptedObject, 'outcome' | 'detail'>;
      try {
        kept = await keepOne(places, from, join(keep, kind, domain), file, dryRun);
      } catch (error) {
        kept = { outcome: 'refused', detail: reasonOf(error) };
      }
      report.push({ kind, name, uuid: null, ...kept });
    }
  return report;
}

async function keepOne(
  places: LibvirtPlaces,
  from: string,
  directory: string,
  file: string,
  dryRun: boolean,
): Promise<Pick<AdoptedObject, 'outcome' | 'detail'>> {
  const to = join(directory, file);
  const xml = (await readPlain(places, from)).toString('utf8');
  if (isFile(to) && (await readFile(to, 'utf8')) === xml)
    return { outcome: 'present', detail: `kept in ${to}` };
  if (!dryRun) {
    await ensureDirectory(directory, 0o700);
    await writeDurable(to, xml);
  }
  return { outcome: 'kept', detail: `in ${to}, for a version that has such objects` };
}
