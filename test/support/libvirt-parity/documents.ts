/** The definitions that both daemons are asked about: together they touch every kind of device and every default. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { addressParts } from './documents/addresses.ts';
import { deviceParts } from './documents/devices.ts';
import { liveNames, liveParts } from './documents/live.ts';
import { machineParts } from './documents/machines.ts';
import { disk, domain, nic } from './documents/parts.ts';
import { storageParts } from './documents/storage.ts';
import { systemParts } from './documents/system.ts';

export interface ParityDocument {
  readonly name: string;
  readonly xml: string;
  /** Started paused in both daemons, and the live XML compared. */
  readonly live: boolean;
  /** Elements for `<devices>` that a second definition adds: everything else must stay where it was. */
  readonly insert?: string;
}

const inserts: Readonly<Record<string, string>> = {
  'pc-twenty': disk('virtio', 'vdx') + nic('virtio'),
  'q35-twenty': disk('virtio', 'vdx') + nic('virtio') + nic('e1000'),
  'q35-minimal': `<controller type='scsi' model='virtio-scsi'/><channel type='null'><target type='virtio' name='x'/></channel>`,
};

function firmwareFixed(name: string, xml: string): string {
  if (name === 'q35-efi-auto') return xml.replace('<os>', `<os firmware='efi'>`);
  if (name !== 'q35-efi-secure') return xml;
  return xml
    .replace('<os>', `<os firmware='efi'>`)
    .replace(
      '</type>',
      `</type><firmware><feature enabled='yes' name='secure-boot'/><feature enabled='yes' name='enrolled-keys'/></firmware>`,
    );
}

/** What virt-install 4.1 printed with --print-xml, each with the name of its file. */
function virtInstallDocuments(): [string, string][] {
  const directory = join(import.meta.dirname, 'virt-install');
  return readdirSync(directory)
    .filter((file) => file.endsWith('.xml'))
    .map((file) => [basename(file, '.xml'), readFileSync(join(directory, file), 'utf8')]);
}

export function parityDocuments(): ParityDocument[] {
  const groups = {
    ...machineParts,
    ...storageParts,
    ...addressParts,
    ...deviceParts,
    ...systemParts,
    ...liveParts,
  };
  const written = Object.entries(groups).map(([name, parts]): [string, string] => [
    name,
    firmwareFixed(name, domain(name, parts)),
  ]);
  return [...written, ...virtInstallDocuments()].map(([name, xml]) => ({
    name,
    xml,
    live: liveNames.has(name),
    ...(inserts[name] !== undefined && { insert: inserts[name] }),
  }));
}
