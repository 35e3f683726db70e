/** The definition of a clone, from that of its source: what must be its own is new, what both may share stays. Pure. */
import { basename, dirname, join } from 'node:path';
import type { Disk } from './devices/disk.ts';
import { type DomainDef, formatDomain, parseDomain } from './domain.ts';
import { markedAsTemplate } from './template.ts';

/** A disk of the clone, in place of the source's. */
export interface ClonedDisk {
  readonly target: string;
  readonly source: Disk['source'];
  readonly format: NonNullable<Disk['driver']>['type'];
}

export interface CloneWish {
  readonly name: string;
  readonly uuid: string;
  /** A new generation id, by which guests notice that they were copied. */
  readonly genid: string;
  readonly disks: readonly ClonedDisk[];
  /** What its emulated TPM begins with; left out: nothing. */
  readonly tpm?: 'new' | 'copy';
}

/** Disks that a clone must have for itself: those that the source writes to alone. */
export function ownDisks({ devices }: Pick<DomainDef, 'devices'>): Disk[] {
  return devices.disks.filter(
    ({ device, readonly, shareable }) => device === 'disk' && !readonly && !shareable,
  );
}

/**
 * The clone: another name, uuid, generation id and MACs; its own disks, firmware variables and log files. `warnings` tell what
 * both share that only one of them can have at a time.
 */
export function clonedDefinition(
  source: DomainDef,
  wish: CloneWish,
): { readonly definition: DomainDef; readonly warnings: string[] } {
  const whole = markedAsTemplate(withNewUuid(source, wish.uuid), false);
  const { devices } = whole;
  const path = (old: string): string => renamedFile(old, source.name, wish.name);
  const definition: DomainDef = {
    ...whole,
    name: wish.name,
    title: undefined,
    ...(whole.genid !== undefined && { genid: wish.genid }),
    os: { ...whole.os, ...(whole.os.nvram && { nvram: ownVariables(whole.os.nvram) }) },
    devices: {
      ...devices,
      disks: devices.disks.map((disk, at) => clonedDisk(disk, source.devices.disks[at] ?? disk, wish)),
      interfaces: devices.interfaces.map((card) => ({ ...card, mac: undefined })),
      serials: devices.serials.map((device) => withOwnFiles(device, path)),
      consoles: devices.consoles.map((device) => withOwnFiles(device, path)),
      parallels: devices.parallels.map((device) => withOwnFiles(device, path)),
      channels: devices.channels.map((device) => withOwnFiles(device, path)),
    },
  };
  return { definition, warnings: warningsOf(definition, wish) };
}

/** The uuid stands in more places than one: SMBIOS repeats it, and paths have it in them. */
function withNewUuid(source: DomainDef, uuid: string): DomainDef {
  const xml = formatDomain(source, { inactive: true, secure: true });
  const text = source.uuid === undefined ? xml : xml.replaceAll(source.uuid, uuid);
  return { ...parseDomain(text, { mode: 'lenient' }).definition, uuid };
}

/** Their place is chosen anew. */
function ownVariables(nvram: NonNullable<DomainDef['os']['nvram']>) {
  const { path: _path, source: _source, ...variables } = nvram;
  return variables;
}

/** A disk of its own; of any other, what the source has, whatever was replaced in its path. */
function clonedDisk(disk: Disk, original: Disk, { disks }: CloneWish): Disk {
  const own = disks.find(({ target }) => target === disk.target.dev);
  if (own === undefined) return { ...disk, source: original.source };
  const { backingStore: _below, wwn: _wwn, ...rest } = disk;
  return { ...rest, source: own.source, driver: { ...rest.driver, type: own.format } };
}

interface WithFiles {
  readonly log?: { readonly file: string } | undefined;
  readonly source: DomainDef['devices']['serials'][number]['source'];
}

function withOwnFiles<T extends WithFiles>(device: T, path: (old: string) => string): T {
  const { log, source } = device;
  const file = source.type === 'file' || source.type === 'unix' ? source.path : undefined;
  return {
    ...device,
    ...(log && { log: { ...log, file: path(log.file) } }),
    ...(file !== undefined && { source: { ...source, path: path(file) } }),
  };
}

/** `/x/web-console.log` of `web` is `/x/db-console.log` of `db`; a file that is called otherwise gets the name in front. */
function renamedFile(old: string, from: string, to: string): string {
  const file = basename(old);
  const rest = file.startsWith(from) ? file.slice(from.length) : undefined;
  const isOurs = rest !== undefined && !/^[A-Za-z0-9]/.test(rest);
  return join(dirname(old), isOurs ? `${to}${rest}` : `${to}-${file}`);
}

/** What both have and only one can use at a time. */
function warningsOf({ devices }: DomainDef, { tpm }: CloneWish): string[] {
  const warnings: string[] = [];
  if (devices.hostdevs.length > 0)
    warnings.push("it has its source's devices of the host: only one of the two can run");
  for (const graphics of devices.graphics)
    if ('port' in graphics && 'autoport' in graphics && !(graphics.autoport ?? true))
      warnings.push(`its ${graphics.type} server has a fixed port: only one of the two can run`);
  const hasTpm = devices.tpms.some(({ backend }) => backend.type === 'emulator');
  if (hasTpm && tpm === 'copy')
    warnings.push("its TPM is a copy of its source's: whoever trusts one of the two trusts both");
  if (hasTpm && tpm !== 'copy')
    warnings.push(
      "its TPM starts empty: what is sealed to that of its source, such as a disk's key, stays closed to it",
    );
  if (devices.vsock?.cid?.auto === false)
    warnings.push('its vsock address is fixed: only one of the two can run');
  return warnings;
}
