/**
 * What a new definition would change, before anything is changed: at once in the running guest, at its next start, or
 * not at all. Nothing is stored or touched.
 */
import { isVirtError, type Problem } from '../../base/errors.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import { type DefinitionChange, definitionChanges } from '../../model/domain/changes.ts';
import type { OneDevice } from '../../model/domain/device-list.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { type DomainDef, parseDomain } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { DomainWorld } from './world.ts';

/** `now`: can be done to the running guest. `next-start`: counts when it is started. `never`: this is refused. */
export type When = 'now' | 'next-start' | 'never';

export interface PlannedChange {
  readonly path: string;
  readonly when: When;
  readonly before?: string;
  readonly after?: string;
  /** `now`: the command for it. Otherwise: why not now. */
  readonly how: string;
}

export interface Plan {
  /** Undefined when the definition would be a new domain. */
  readonly domain?: Domain;
  readonly name: string;
  readonly dropped: readonly string[];
  readonly changes: readonly PlannedChange[];
}

/** Errors that say which parts of a definition cannot be had. */
const refusals = [
  'definition.unsupported',
  'network.session',
  'qemu.lacks',
  'kvm.unusable',
  'domain.exists',
] as const;

export class DomainPlans {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /**
   * Compares a document with the stored definition it would replace.
   * @throws VirtError xml.*, qemu.missing
   */
  async plan(xml: string, mode: ParseMode): Promise<Plan> {
    const { definition, dropped } = parseDomain(xml, { mode });
    const domain = this.definitions.replacedBy(definition, { mode, byName: true });
    const named = { name: definition.name, dropped, ...(domain !== undefined && { domain }) };
    try {
      const complete = await this.definitions.prepare(definition, { mode, byName: true });
      this.definitions.requireFree(complete);
      if (domain === undefined) return { ...named, changes: [] };
      const before = this.definitions.definition(domain, { inactive: true });
      const place = { domain, after: complete, world: this.world };
      return { ...named, changes: definitionChanges(before, complete).map((one) => planned(one, place)) };
    } catch (error) {
      return { ...named, changes: refusedParts(error) };
    }
  }
}

/** What a refusal names, part by part. Anything else is thrown on. */
function refusedParts(error: unknown): PlannedChange[] {
  if (!refusals.some((code) => isVirtError(error, code)) || !isVirtError(error)) throw error;
  const problems = (error.details?.['problems'] ?? []) as readonly Problem[];
  const hint = error.hint === undefined ? '' : ` (${error.hint})`;
  if (problems.length === 0) return [{ path: 'domain', when: 'never', how: `${error.reason}${hint}` }];
  return problems.map(({ path, message }) => ({ path, when: 'never', how: `${message}${hint}` }));
}

interface Place {
  readonly domain: Domain;
  readonly after: DomainDef;
  readonly world: DomainWorld;
}

function planned(change: DefinitionChange, place: Place): PlannedChange {
  const { path, before, after } = change;
  const values = { path, ...(before !== undefined && { before }), ...(after !== undefined && { after }) };
  if (!place.domain.isActive) return { ...values, when: 'next-start', how: 'the domain does not run' };
  const answer =
    change.device === undefined ? ofDomain(change, place) : ofDevice(change, change.device, place);
  return 'now' in answer
    ? { ...values, when: 'now', how: answer.now }
    : { ...values, when: 'next-start', how: answer.later };
}

type Answer = { readonly now: string } | { readonly later: string };
const fixed = 'a guest has this for as long as it runs';

/** Parts of the domain that change while it runs, by their path, with the command for it. */
const liveParts: readonly (readonly [RegExp, (name: string, change: DefinitionChange) => string])[] = [
  [/^title$/, (name) => `vireo domain title ${name} TEXT`],
  [/^description$/, (name) => `vireo domain description ${name} TEXT`],
  [/^metadata(\.|\[|$)/, (name) => `vireo domain metadata ${name} URI`],
  [/^currentMemory$/, (name, { after }) => `vireo domain set-memory ${name} ${after ?? 'SIZE'}KiB --live`],
  [/^vcpu\.current$/, (name, { after }) => `vireo domain set-vcpus ${name} ${after ?? 'COUNT'} --live`],
  [/^cputune\.(vcpupin|emulatorpin|iothreadpin)/, (name) => `vireo domain pin ${name} THREAD CPUS --live`],
  [
    /^on_(poweroff|reboot|crash)$/,
    (name, { path, after }) => `vireo domain set-action ${name} ${path.slice(3)} ${after ?? 'ACTION'} --live`,
  ],
];

/** What `domain set-limits` sets, as elements. */
const limit =
  /^(cputune\.(shares|(\w+_)?(period|quota))|memtune\.(hard|soft|swap_hard)_limit|blkiotune\.weight)$/;

/** One limit, or an element that comes or goes with nothing else in it. */
function isLimit({ path, before, after }: DefinitionChange): boolean {
  const parts = [...(after ?? before ?? '').matchAll(/<(\w+)/g)].map(([, name]) => name).slice(1);
  return limit.test(path) || (parts.length > 0 && parts.every((name) => limit.test(`${path}.${name}`)));
}

function ofDomain(change: DefinitionChange, { domain, after }: Place): Answer {
  if (isLimit(change)) return { now: `vireo domain set-limits ${domain.name} --live` };
  const found = liveParts.find(([path]) => path.test(change.path));
  if (found === undefined) return { later: fixed };
  const hasBalloon = after.devices.memballoon !== undefined && after.devices.memballoon.model !== 'none';
  if (change.path === 'currentMemory' && !hasBalloon) return { later: 'the guest has no memory balloon' };
  return { now: found[1](domain.name, change) };
}

/** Parts of devices that change while they are there, by element and path within it. */
const liveDeviceParts: readonly (readonly [RegExp, (name: string, device: string) => string])[] = [
  [/^devices\.disk\[[^\]]*\]\.iotune/, (name, device) => `vireo domain disk limit ${name} ${device} --live`],
  [
    /^devices\.interface\[[^\]]*\]\.link/,
    (name, device) => `vireo domain set-link ${name} ${device} up|down --live`,
  ],
  [
    /^devices\.interface\[[^\]]*\]\.bandwidth/,
    (name, device) => `vireo domain set-bandwidth ${name} ${device} --live`,
  ],
  [
    /^devices\.(disk|interface)\[[^\]]*\]\.boot\.order$/,
    (name) => `vireo domain update-device ${name} FILE --live`,
  ],
  [/^devices\.interface\[[^\]]*\]\.source/, (name) => `vireo domain update-device ${name} FILE --live`],
  [
    /^devices\.(interface\[[^\]]*\]\.filterref|memory\[[^\]]*\]\.target\.requested$)/,
    (name) => `vireo domain update-device ${name} FILE --live`,
  ],
  [
    /^devices\.graphics\[[^\]]*\]\.(passwd|passwdValidTo|connected)$/,
    (name) => `vireo domain update-device ${name} FILE --live`,
  ],
];

function ofDevice(
  change: DefinitionChange,
  { old, new: now }: { readonly old?: OneDevice; readonly new?: OneDevice },
  { domain, world }: Place,
): Answer {
  const word = /\[([^\]]*)\]/.exec(change.path)?.[1] ?? '';
  const one = now ?? old;
  if (one === undefined) throw new Error(`${change.path} is of no device`);
  if (old === undefined || now === undefined) {
    const reason = world.driver.whyNotPluggable(one);
    if (reason !== undefined) return { later: reason };
    return {
      now:
        now === undefined
          ? `vireo detach ${domain.name} ${word} --live`
          : `vireo attach ${domain.name} FILE --live`,
    };
  }
  if (isMedium(one) && /\]\.(source|driver)/.test(change.path))
    return { now: `vireo media ${domain.name} ${word} IMAGE --live` };
  if (change.path.endsWith('.passwd') && change.after === undefined)
    return { later: 'a password can be changed while the display is there, and not taken away' };
  const found = liveDeviceParts.find(([path]) => path.test(change.path));
  return found === undefined
    ? { later: 'the device keeps this while it is there; it would have to be detached and attached' }
    : { now: found[1](domain.name, word) };
}

function isMedium({ family, device }: OneDevice): boolean {
  const kind = (device as Disk).device;
  return family === 'disks' && (kind === 'cdrom' || kind === 'floppy');
}
