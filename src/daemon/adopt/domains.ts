/** Domains of a libvirtd: definition, autostart mark, firmware variables, and the state of an emulated TPM. */
import { type FileHandle, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { reasonOf, VirtError } from '../../base/errors.ts';
import { ensureDirectory, statIfPresent, writeDurable } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { Undo } from '../../base/undo.ts';
import { type DomainDef, parseDomain } from '../../model/domain/domain.ts';
import type { DomainService } from '../services/domain-service.ts';
import {
  type DefinitionFile,
  definitionFiles,
  isFile,
  type LibvirtPlaces,
  names,
  openPlain,
  readDefinition,
  readPlain,
  uuidIn,
} from './libvirt-files.ts';
import type { AdoptedObject } from './report.ts';

/** What taking over domains needs of the daemon. */
export interface DomainAdoption {
  readonly service: Pick<DomainService, 'definitions' | 'saves' | 'snapshots' | 'checkpoints' | 'find'>;
  readonly isKnown: (uuid: string) => boolean;
  /** Pid by uuid of the QEMU processes of this host. */
  readonly running: () => ReadonlyMap<string, number>;
  /** Where our copies of firmware variables and TPM states go. */
  readonly nvram: string;
  readonly tpm: string;
  readonly log: Logger;
}

export async function adoptDomains(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  dryRun: boolean,
): Promise<AdoptedObject[]> {
  const running = adoption.running();
  const report: AdoptedObject[] = [];
  for (const file of definitionFiles(join(places.config, 'qemu'))) {
    const found: Found = { file, uuid: null };
    const kind = 'domain';
    let one: AdoptedObject;
    try {
      one = { kind, name: file.name, ...(await adoptOne(places, adoption, found, running, dryRun)) };
    } catch (error) {
      one = { kind, name: file.name, uuid: found.uuid, outcome: 'refused', detail: reasonOf(error) };
    }
    report.push(one);
    if (hasSavedState(places, file.name)) report.push(await savedState(places, adoption, file, one, dryRun));
  }
  return report;
}

interface Found {
  readonly file: DefinitionFile;
  uuid: string | null;
}

async function adoptOne(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  found: Found,
  running: ReadonlyMap<string, number>,
  dryRun: boolean,
): Promise<Pick<AdoptedObject, 'uuid' | 'outcome' | 'detail'>> {
  const { file } = found;
  const xml = await readDefinition(file.path);
  const uuid = uuidIn(xml) ?? null;
  found.uuid = uuid;
  if (uuid !== null && adoption.isKnown(uuid)) return { uuid, outcome: 'present', detail: null };
  const pid = uuid === null ? undefined : running.get(uuid);
  if (pid !== undefined)
    return {
      uuid,
      outcome: 'refused',
      detail: `it runs (process ${pid}) and is not ours to touch: shut it down under libvirtd, then adopt again`,
    };
  const { definition, dropped } = parseDomain(xml, { mode: 'lenient' });
  // With a saved memory the mark comes when that has come over.
  const isSaved = hasSavedState(places, file.name);
  const notes = dropped.length > 0 ? [`without ${dropped.join(', ')}`] : [];
  if (dryRun) await adoption.service.definitions.prepare(definition, { mode: 'lenient' });
  else await takeIn(places, adoption, definition, file.autostart && !isSaved);
  return { uuid, outcome: 'adopted', detail: notes.length === 0 ? null : notes.join('; ') };
}

/** Copies the guest's own state first: a definition without its firmware variables would boot another system. */
async function takeIn(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  definition: DomainDef,
  autostart: boolean,
): Promise<void> {
  await using undo = new Undo(adoption.log);
  const complete = await copyVariables(places, adoption, definition, undo);
  await copyTpm(places, adoption, complete, undo);
  const { domain } = await adoption.service.definitions.store(complete, { mode: 'lenient' });
  undo.keep();
  if (autostart) await adoption.service.definitions.setAutostart(domain, true);
}

/** Variables in libvirt's own directory are copied to ours; those at a place of the user's choice stay there. */
async function copyVariables(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  definition: DomainDef,
  undo: Undo,
): Promise<DomainDef> {
  const moved = withOwnVariables(places, adoption, definition);
  const theirs = variablesFile(places, definition.os.nvram?.path);
  const ours = moved.os.nvram?.path;
  if (moved === definition || theirs === undefined || ours === undefined) return definition;
  if (await statIfPresent(theirs)) {
    await ensureDirectory(adoption.nvram, 0o700);
    undo.add(`remove ${ours}`, () => rm(ours, { force: true }));
    await writeDurable(ours, await readPlain(places, theirs));
  }
  return moved;
}

/** The definition with our copy of variables that are in libvirt's own directory; itself when they are not. */
export function withOwnVariables(
  places: LibvirtPlaces,
  { nvram: directory }: Pick<DomainAdoption, 'nvram'>,
  definition: DomainDef,
): DomainDef {
  const { os, uuid } = definition;
  if (os.nvram === undefined || uuid === undefined) return definition;
  if (variablesFile(places, os.nvram.path) === undefined) return definition;
  return { ...definition, os: { ...os, nvram: { ...os.nvram, path: join(directory, `${uuid}_VARS.fd`) } } };
}

/** Where that file lies below the places, when it is one of libvirt's own. */
function variablesFile(places: LibvirtPlaces, path: string | undefined): string | undefined {
  const [, name] = /\/qemu\/nvram\/([^/]+)$/.exec(path ?? '') ?? [];
  return name === undefined ? undefined : join(places.nvram, name);
}

/** libvirt has a directory for each version of TPM below that of the domain; ours has one. */
async function copyTpm(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  definition: DomainDef,
  undo: Undo,
): Promise<void> {
  const { uuid } = definition;
  if (uuid === undefined) return;
  for (const version of ['tpm2', 'tpm1.2']) {
    const theirs = join(places.swtpm, uuid, version);
    if (names(theirs).length === 0) continue;
    const ours = join(adoption.tpm, uuid);
    await ensureDirectory(dirname(ours), 0o711);
    await ensureDirectory(ours, 0o700);
    undo.add(`remove ${ours}`, () => rm(ours, { recursive: true, force: true }));
    // The lock belongs to the process that runs there.
    for (const name of names(theirs).filter((one) => one !== '.lock'))
      await writeDurable(join(ours, name), await readPlain(places, join(theirs, name)));
  }
}

const saveFile = (places: LibvirtPlaces, name: string) => join(places.state, 'save', `${name}.save`);
const hasSavedState = (places: LibvirtPlaces, name: string) => isFile(saveFile(places, name));

/**
 * The saved memory of a domain that came over just now: copied, so that its next start goes on with it. Later it must not
 * come any more: the guest may have run here, and its disks be others than the memory knows.
 */
async function savedState(
  places: LibvirtPlaces,
  adoption: DomainAdoption,
  { name, autostart }: DefinitionFile,
  domain: AdoptedObject,
  dryRun: boolean,
): Promise<AdoptedObject> {
  const { uuid } = domain;
  const path = saveFile(places, name);
  const refused = (reason: string): AdoptedObject => ({
    kind: 'managed-save',
    name,
    uuid,
    outcome: 'refused',
    detail: `${reason}; its memory stays in ${path}: a start here would be as after a power cut; start it under libvirtd once more and shut it down`,
  });
  if (domain.outcome === 'present')
    return { kind: 'managed-save', name, uuid, outcome: 'present', detail: 'it goes with its domain only' };
  if (domain.outcome !== 'adopted' || uuid === null) return refused('its domain did not come over');
  try {
    const file = await openPlain(places, path);
    try {
      if (dryRun) await adoption.service.saves.describe(path, { secure: false });
      else await takeState(adoption, uuid, file, autostart);
    } finally {
      await file.close();
    }
    return { kind: 'managed-save', name, uuid, outcome: 'adopted', detail: null };
  } catch (error) {
    return refused(reasonOf(error));
  }
}

async function takeState(
  { service }: DomainAdoption,
  uuid: string,
  file: FileHandle,
  autostart: boolean,
): Promise<void> {
  const domain = service.find({ uuid });
  // The state names the file with variables that libvirt's guest had; ours has a copy.
  if (service.definitions.definition(domain, { inactive: true }).os.nvram !== undefined)
    throw new VirtError('request.unsupported', {
      reason: 'it has firmware variables, which changed their place',
    });
  await service.saves.takeOver(domain, file);
  if (autostart) await service.definitions.setAutostart(domain, true);
}
