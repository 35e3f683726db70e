/** Networks of a libvirtd: definition and autostart mark. */
import { join } from 'node:path';
import { isVirtError, reasonOf } from '../../base/errors.ts';
import { parseNetwork } from '../../model/network/network.ts';
import type { NetworkService } from '../services/network-service.ts';
import {
  type DefinitionFile,
  definitionFiles,
  isFile,
  type LibvirtPlaces,
  readDefinition,
  uuidIn,
} from './libvirt-files.ts';
import type { AdoptedObject } from './report.ts';

export async function adoptNetworks(
  places: LibvirtPlaces,
  networks: NetworkService | undefined,
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const report: AdoptedObject[] = [];
  for (const file of definitionFiles(join(places.config, 'qemu/networks'))) {
    const { name } = file;
    let uuid: string | null = null;
    try {
      const xml = await readDefinition(file.path);
      uuid = uuidIn(xml) ?? null;
      report.push({ kind: 'network', name, uuid, ...(await adoptOne(places, networks, file, xml, dryRun)) });
    } catch (error) {
      report.push({ kind: 'network', name, uuid, outcome: 'refused', detail: explain(error, name) });
    }
  }
  return report;
}

async function adoptOne(
  places: LibvirtPlaces,
  networks: NetworkService | undefined,
  file: DefinitionFile,
  xml: string,
  dryRun: boolean,
): Promise<Pick<AdoptedObject, 'outcome' | 'detail'>> {
  if (networks === undefined)
    return { outcome: 'refused', detail: 'a session has no virtual networks: they need the system daemon' };
  const uuid = uuidIn(xml);
  if (uuid !== undefined && networks.hasUuid(uuid)) return { outcome: 'present', detail: null };
  const { definition, dropped } = parseNetwork(xml, { mode: 'lenient' });
  const notes = dropped.length > 0 ? [`without ${dropped.join(', ')}`] : [];
  // network/bridge_driver.c keeps the status of an active network there.
  if (isFile(join(places.runtime, 'network', `${file.name}.xml`)))
    notes.push('it is active under libvirtd: stop it there before it is started here');
  if (dryRun) await networks.definitions.prepare(definition, 'lenient');
  else await networks.definitions.store(definition, 'lenient', { autostart: file.autostart });
  return { outcome: 'adopted', detail: notes.length === 0 ? null : notes.join('; ') };
}

/** The commonest case is the network that both made for themselves at their first start. */
function explain(error: unknown, name: string): string {
  if (!isVirtError(error, 'network.exists')) return reasonOf(error);
  return `${error.reason}; to have libvirt's instead: vireo network undefine ${name}, then adopt again`;
}
