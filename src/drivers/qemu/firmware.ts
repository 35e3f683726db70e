/** Firmware images of the host, by QEMU's descriptors (QEMU docs/interop/firmware.json), and the choice among them. */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { errnoOf, reasonOf, VirtError } from '../../base/errors.ts';
import { readText, statIfPresent } from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { sevKind } from '../../model/domain/launch-security.ts';

const format = z.enum(['raw', 'qcow2']);
const flashFile = z.looseObject({ filename: z.string().startsWith('/'), format });

const mapping = z.discriminatedUnion('device', [
  z.looseObject({
    device: z.literal('flash'),
    mode: z.enum(['split', 'combined', 'stateless']).default('split'),
    executable: flashFile,
    'nvram-template': flashFile.optional(),
  }),
  z.looseObject({ device: z.literal('memory'), filename: z.string().startsWith('/') }),
  z.looseObject({ device: z.literal('kernel'), filename: z.string().startsWith('/') }),
]);

const descriptorFile = z.looseObject({
  description: z.string(),
  'interface-types': z.array(z.string()).min(1),
  mapping,
  targets: z.array(z.looseObject({ architecture: z.string(), machines: z.array(z.string()) })).min(1),
  features: z.array(z.string()),
});

/** One firmware as its descriptor tells. */
export interface FirmwareDescriptor {
  /** The descriptor's own path. */
  readonly source: string;
  readonly description: string;
  /** `uefi`, `bios`, ... */
  readonly interfaces: readonly string[];
  readonly features: ReadonlySet<string>;
  readonly targets: readonly { readonly architecture: string; readonly machines: readonly string[] }[];
  readonly loader: FirmwareFile;
  /** flash, split: code and variables apart; flash, stateless: no variables; flash, combined: both in one file. */
  readonly kind: 'split' | 'stateless' | 'combined' | 'memory';
  readonly nvramTemplate?: FirmwareFile;
}

export interface FirmwareFile {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}

/** Where distributions and administrators put descriptors; later directories override files of the same name. */
export const firmwareDirectories = ['/usr/share/qemu/firmware', '/etc/qemu/firmware'] as const;

/** Descriptors are about 1 KiB. */
const MAX_DESCRIPTOR_BYTES = 256 * 1024;

export interface DescriptorOptions {
  /** Hears of descriptors that are passed over: path and reason. */
  readonly onProblem?: (path: string, reason: string) => void;
}

/**
 * Reads the descriptors of some directories, in the order of preference: by file name. A file in a later directory
 * stands for one of the same name in an earlier one; an empty file hides it (firmware.json says so). A descriptor that
 * can't be read, or whose image isn't installed, is passed over.
 */
export async function firmwareDescriptors(
  directories: readonly string[],
  options: DescriptorOptions = {},
): Promise<FirmwareDescriptor[]> {
  const byName = new Map<string, string>();
  for (const directory of directories)
    for (const name of await jsonNames(directory)) byName.set(name, join(directory, name));
  const paths = [...byName.values()].sort((a, b) => (basename(a) < basename(b) ? -1 : 1));
  const read = await Promise.all(paths.map((path) => readDescriptor(path, options)));
  return read.filter((descriptor) => descriptor !== undefined);
}

async function jsonNames(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => name.endsWith('.json'));
  } catch (error) {
    const errno = errnoOf(error);
    // A host without firmware packages, or a session without rights to /etc, has none from there.
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'EACCES') return [];
    throw error;
  }
}

async function readDescriptor(
  path: string,
  options: DescriptorOptions,
): Promise<FirmwareDescriptor | undefined> {
  try {
    const text = await readText(path, MAX_DESCRIPTOR_BYTES);
    if (text.trim() === '') return undefined;
    const descriptor = parseFirmwareDescriptor(text, path);
    if (descriptor === undefined || (await isInstalled(descriptor))) return descriptor;
    options.onProblem?.(path, 'its image is not installed');
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    options.onProblem?.(path, reasonOf(error));
  }
  return undefined;
}

async function isInstalled(descriptor: FirmwareDescriptor): Promise<boolean> {
  const files = [descriptor.loader, descriptor.nvramTemplate].filter((file) => file !== undefined);
  const stats = await Promise.all(files.map((file) => statIfPresent(file.path)));
  return stats.every((stat) => stat !== undefined);
}

/**
 * Parses one descriptor; undefined for a kernel image, which is no firmware that `<loader>` could name.
 * @throws VirtError file.failed when it isn't what firmware.json says
 */
export function parseFirmwareDescriptor(text: string, source: string): FirmwareDescriptor | undefined {
  const parsed = descriptorFile.safeParse(jsonOrUndefined(text));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const reason = `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is wrong'}`;
    throw new VirtError('file.failed', { wanted: `read the firmware descriptor ${source}`, reason });
  }
  const { data } = parsed;
  const files = filesOf(data.mapping);
  if (files === undefined) return undefined;
  return {
    source,
    description: data.description,
    interfaces: data['interface-types'],
    features: new Set(data.features),
    targets: data.targets,
    ...files,
  };
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function filesOf(
  found: z.infer<typeof mapping>,
): Pick<FirmwareDescriptor, 'loader' | 'kind' | 'nvramTemplate'> | undefined {
  if (found.device === 'kernel') return undefined;
  if (found.device === 'memory') return { kind: 'memory', loader: { path: found.filename, format: 'raw' } };
  const template = found['nvram-template'];
  return {
    kind: found.mode,
    loader: { path: found.executable.filename, format: found.executable.format },
    ...(found.mode === 'split' &&
      template !== undefined && { nvramTemplate: { path: template.filename, format: template.format } }),
  };
}

/** True when the firmware is made for that machine type (its own name, not an alias). */
export function fitsMachine(descriptor: FirmwareDescriptor, arch: string, machine: string): boolean {
  return descriptor.targets.some(
    (target) =>
      target.architecture === arch && target.machines.some((pattern) => globRule(pattern).test(machine)),
  );
}

/** `*` and `?` as in a shell's pattern; a machine's name has no slash. */
function globRule(pattern: string): RegExp {
  const rule = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${rule}$`);
}

/** What was chosen for a definition with `<os firmware=>`. */
export interface SelectedFirmware {
  readonly descriptor: FirmwareDescriptor;
  readonly type: 'pflash' | 'rom';
  readonly loader: FirmwareFile;
  /** Code must run in SMM: `<smm state='on'/>` and `<loader secure='yes'>` belong to it. */
  readonly secure: boolean;
  readonly stateless: boolean;
  readonly nvramTemplate?: FirmwareFile;
}

/**
 * Chooses the firmware for `<os firmware='efi'>` or `'bios'`: the first descriptor that fits machine type, wanted
 * features, loader and SMM. Undefined when the definition doesn't ask for a choice, and for `bios` without any
 * descriptor (the machine type's built-in BIOS then does).
 * @param machine the machine type's own name, not an alias
 * @throws VirtError definition.unsupported when nothing fits; the reason tells of each candidate why not
 */
export function selectFirmware(
  definition: DomainDef,
  descriptors: readonly FirmwareDescriptor[],
  machine: string,
): SelectedFirmware | undefined {
  const { firmware } = definition.os;
  if (firmware === undefined) return undefined;
  const wantedInterface = firmware === 'efi' ? 'uefi' : 'bios';
  const arch = definition.os.type.arch ?? '';
  const possible = descriptors.filter(
    (one) => one.interfaces.includes(wantedInterface) && fitsMachine(one, arch, machine),
  );
  const misses: string[] = [];
  for (const descriptor of possible) {
    const miss = missOf(definition, descriptor);
    if (miss === undefined) return selected(descriptor);
    misses.push(`${basename(descriptor.source)}: ${miss}`);
  }
  if (firmware === 'bios' && misses.length === 0) return undefined;
  throw nothingFits(
    definition,
    misses.length > 0 ? misses.join('; ') : `none for ${arch} ${machine} is installed`,
  );
}

function nothingFits(definition: DomainDef, message: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted: `choose the firmware of '${definition.name}'`,
    reason: `os.firmware: ${message}`,
    hint: 'install a firmware package (ovmf, qemu-efi-aarch64), or name loader and nvram',
    details: { problems: [{ path: 'os.firmware', message }] },
  });
}

function selected(descriptor: FirmwareDescriptor): SelectedFirmware {
  return {
    descriptor,
    type: descriptor.kind === 'memory' ? 'rom' : 'pflash',
    loader: descriptor.loader,
    secure: descriptor.features.has('requires-smm'),
    stateless: descriptor.kind === 'stateless',
    ...(descriptor.nvramTemplate && { nvramTemplate: descriptor.nvramTemplate }),
  };
}

/** Why a firmware isn't what the definition wants; undefined when it is. */
function missOf(definition: DomainDef, descriptor: FirmwareDescriptor): string | undefined {
  return (
    featureMiss(definition, descriptor) ??
    loaderMiss(definition, descriptor) ??
    nvramMiss(definition, descriptor)
  );
}

function featureMiss(definition: DomainDef, descriptor: FirmwareDescriptor): string | undefined {
  const { os, features } = definition;
  // The firmware shares memory with the host before any driver of the guest does, so it must know how.
  const encryption = sevKind(definition.launchSecurity);
  if (encryption !== undefined && !descriptor.features.has(`amd-${encryption}`))
    return `it lacks the feature amd-${encryption}`;
  for (const { name, enabled } of os.firmwareFeatures)
    if (descriptor.features.has(name) !== enabled)
      return enabled ? `it lacks the feature ${name}` : `it has the feature ${name}`;
  const needsSmm = descriptor.features.has('requires-smm');
  if (needsSmm && features?.smm?.state === false) return 'it needs SMM, which is off';
  if (needsSmm && os.loader?.secure === false) return "it is secure, and the loader says secure='no'";
  if (os.loader?.secure === true && !(needsSmm && descriptor.features.has('secure-boot')))
    return "it is not secure, and the loader says secure='yes'";
  return undefined;
}

function loaderMiss({ os }: DomainDef, descriptor: FirmwareDescriptor): string | undefined {
  const { loader } = os;
  const type = descriptor.kind === 'memory' ? 'rom' : 'pflash';
  if (loader?.path !== undefined && loader.path !== descriptor.loader.path)
    return `it is ${descriptor.loader.path}`;
  if (loader?.type !== undefined && loader.type !== type) return `it is of type ${type}`;
  if (loader?.format !== undefined && loader.format !== descriptor.loader.format)
    return `its format is ${descriptor.loader.format}`;
  if (loader?.stateless === true && descriptor.kind === 'split') return 'it keeps variables';
  // Code and variables in one file would need a copy of the code for each domain, which nothing here makes.
  return descriptor.kind === 'combined' ? 'it keeps code and variables in one file' : undefined;
}

function nvramMiss({ os }: DomainDef, descriptor: FirmwareDescriptor): string | undefined {
  const { nvram } = os;
  if (nvram === undefined) return undefined;
  if (descriptor.kind !== 'split') return 'it keeps no variables';
  if (nvram.template !== undefined && nvram.template !== descriptor.nvramTemplate?.path)
    return `its template is ${descriptor.nvramTemplate?.path ?? 'none'}`;
  return undefined;
}
