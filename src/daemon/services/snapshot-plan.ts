/** What making, returning to and deleting snapshots would do, told before anything is done: by the rules that do it. */
import { VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { pathOf } from '../../model/snapshot/disks.ts';
import {
  hasMemory,
  isExternal,
  locationOf,
  type Snapshot,
  type SnapshotDef,
  storedDomainOf,
} from '../../model/snapshot/snapshot.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import type { Domain } from './domain.ts';
import { type CreateOptions, planSnapshot } from './domain-snapshot-create.ts';
import { type DeleteOptions, meant, refuseDelete } from './domain-snapshot-delete.ts';
import { chooseOverlays, fateFacts } from './domain-snapshot-external.ts';
import { chooseMemoryFile, isStateOf, openMemory } from './domain-snapshot-memory.ts';
import {
  type RevertOptions,
  refuseRevert,
  renamed,
  revertible,
  taggedDisks,
} from './domain-snapshot-revert.ts';
import { planBranch, type Revertible } from './snapshot-branch.ts';
import { type FateFacts, fatesOf, type ImageFate, withImageReplaced } from './snapshot-chains.ts';
import { variablesOf } from './snapshot-firmware.ts';
import type { SnapshotWorld } from './snapshot-world.ts';
import { storedXml } from './world.ts';

/** What becomes of one file. */
export interface PlannedChange {
  readonly path: string;
  readonly what: 'made' | 'changed' | 'removed' | 'kept';
  readonly part: 'disk' | 'memory' | 'firmware';
  /** The disk that it belongs to. */
  readonly target: string | null;
  /** In words for people. */
  readonly why: string;
}

/**
 * What becomes of the guest. `in-place`: the QEMU that runs gets another state; `restarts`: a new one does;
 * `stands-still`: for as long as it takes.
 */
export type GuestEffect = 'off' | 'runs-on' | 'stands-still' | 'in-place' | 'restarts' | 'starts' | 'ends';

export interface SnapshotPlan {
  /** Those that would be made, returned to, or deleted, in this order. */
  readonly snapshots: readonly string[];
  readonly changes: readonly PlannedChange[];
  readonly guest: GuestEffect;
  /** What cannot be had back, in words. */
  readonly losses: readonly string[];
  /** Those that would get another parent; null: none. */
  readonly children: readonly { readonly name: string; readonly parent: string | null }[];
}

/** @throws VirtError as making it does, where that can be known before */
export async function planCreate(
  snapshots: SnapshotWorld,
  domain: Domain,
  wish: SnapshotDef,
  options: CreateOptions,
): Promise<SnapshotPlan> {
  const wanted = `snapshot domain '${domain.name}'`;
  if (options.halt === true && !domain.isPersistent)
    throw new VirtError('domain.transient', {
      wanted,
      reason: 'cannot halt after transient domain snapshot',
    });
  const { snapshot, disks } = planSnapshot(snapshots, domain, wish, options);
  const { name } = snapshot;
  const external = await chooseOverlays(snapshots, disks, { name, reuse: options.reuse === true, wanted });
  const file = await chooseMemoryFile(snapshot, { external, wanted });
  const changes: PlannedChange[] = [];
  for (const { disk, snapshot: location } of disks) {
    const path = pathOf(disk);
    if (location === 'internal')
      changes.push(change(await snapshots.imageOf(disk), 'changed', disk, `gets the state '${name}' inside`));
    else if (location !== 'external' && path !== undefined)
      changes.push(change(path, 'kept', disk, 'is not part of the snapshot'));
  }
  for (const { target, file: top, below, isOurs } of external) {
    const at = { target: { dev: target } };
    changes.push(change(top, isOurs ? 'made' : 'changed', at, `the domain writes to it from then on`));
    changes.push(change(below, 'kept', at, 'holds the state of the disk, and is not written to any more'));
  }
  if (file !== undefined)
    changes.push({ ...memoryAt(file.path), what: 'made', why: 'gets the memory of the guest' });
  return {
    snapshots: [name],
    changes,
    guest: effectOfCreate(domain, snapshot, options),
    losses: options.halt === true && domain.isActive && snapshot.memory?.snapshot === 'no' ? [inMemory] : [],
    children: [],
  };
}

const inMemory = 'what the running guest has in its memory';

function effectOfCreate(domain: Domain, { memory }: Snapshot, { halt, live }: CreateOptions): GuestEffect {
  if (!domain.isActive) return 'off';
  if (halt === true) return 'ends';
  return memory?.snapshot === 'no' || live === true ? 'runs-on' : 'stands-still';
}

/** @throws VirtError as returning to it does, where that can be known before */
export async function planRevert(
  snapshots: SnapshotWorld,
  domain: Domain,
  name: string,
  options: RevertOptions,
): Promise<SnapshotPlan> {
  refuseBlockJobs(domain, 'revert');
  const snapshot = revertible(domain, snapshots.find(domain, name));
  refuseRevert(snapshots, domain, snapshot, options);
  const memory = await openMemory(domain, snapshot);
  await memory?.close();
  const { external, discard } = await planBranch(snapshots, domain, snapshot);
  const changes: PlannedChange[] = [];
  for (const disk of taggedDisks(snapshot))
    changes.push(
      change(await snapshots.imageOf(disk), 'changed', disk, `goes back to the state '${name}' inside`),
    );
  for (const { target, file, below } of external) {
    const at = { target: { dev: target } };
    changes.push(change(file, 'made', at, 'the domain writes to it from then on'));
    changes.push(change(below, 'kept', at, 'holds the state that is returned to'));
  }
  for (const path of discard) changes.push(removedImage(path, 'only the present state needs it'));
  for (const disk of snapshot.domain.devices.disks) {
    const path = pathOf(disk);
    if (path !== undefined && ['no', 'manual'].includes(locationOf(snapshot, disk.target.dev)))
      changes.push(change(path, 'kept', disk, 'is not part of the snapshot'));
  }
  changes.push(...(await firmwareChanges(snapshots, domain, snapshot, options)));
  const guest = effectOfRevert(snapshots, domain, snapshot, options);
  return {
    snapshots: [name],
    changes,
    guest,
    losses: lossesOfRevert(snapshots, domain, snapshot),
    children: [],
  };
}

function effectOfRevert(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  { state }: RevertOptions,
): GuestEffect {
  const { live } = domain;
  const runsAfter = hasMemory(snapshot) || state !== undefined;
  if (live === undefined) return runsAfter ? 'starts' : 'off';
  if (!runsAfter) return 'ends';
  const isInside = hasMemory(snapshot) && snapshot.memory?.snapshot !== 'external';
  const isSame = snapshots.world.driver.isSameMachine(
    live.guest.definition,
    renamed(domain, snapshot.domain),
  );
  return isInside && isSame ? 'in-place' : 'restarts';
}

function lossesOfRevert(snapshots: SnapshotWorld, domain: Domain, snapshot: Revertible): string[] {
  const losses = domain.isActive ? [inMemory] : [];
  if (snapshots.world.managedSaves.has(domain)) losses.push('the saved state of the guest');
  const written = snapshot.domain.devices.disks
    .map(({ target }) => target.dev)
    .filter((target) => ['internal', 'external'].includes(locationOf(snapshot, target)));
  if (written.length > 0) losses.push(`what is on ${written.join(', ')} and in no snapshot`);
  const stored = domain.isPersistent
    ? snapshots.definitions.definition(domain, { inactive: true })
    : undefined;
  if (
    stored !== undefined &&
    !isSameButDisks(stored, renamed(domain, storedDomainOf(snapshot) ?? snapshot.domain))
  )
    losses.push("changes to the domain's definition since then");
  return losses;
}

/** Whether two definitions say the same, whatever images their disks have at the moment. */
function isSameButDisks(one: DomainDef, other: DomainDef): boolean {
  const form = (definition: DomainDef): string => {
    const { devices } = definition;
    const disks = devices.disks.map(({ source: _at, driver: _format, backingStore: _below, ...rest }) => ({
      ...rest,
      source: { type: 'file' as const, slices: [], seclabels: [] },
    }));
    return storedXml({ ...definition, devices: { ...devices, disks } });
  };
  return form(one) === form(other);
}

/** Firmware state that was copied beside a snapshot without memory, and would be put back; or is made anew. */
async function firmwareChanges(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  { resetNvram }: RevertOptions,
): Promise<PlannedChange[]> {
  if (hasMemory(snapshot)) return [];
  const { nvram, tpm } = snapshots.store.besides(domain.uuid, snapshot.name);
  const path = variablesOf(snapshot.domain);
  const copy = await statIfPresent(nvram);
  const changes: PlannedChange[] = [];
  const add = (at: string, what: PlannedChange['what'], why: string) =>
    changes.push({ path: at, what, part: 'firmware', target: null, why });
  if (path !== undefined && (await statIfPresent(path)) !== undefined) {
    if (resetNvram === true) add(path, 'removed', "the firmware's variables are made anew at the next start");
    else if (copy?.size === 0) add(path, 'removed', 'there were no variables of the firmware yet');
    else if (copy !== undefined) add(path, 'changed', "the firmware's variables are put back");
  } else if (path !== undefined && copy !== undefined && copy.size > 0 && resetNvram !== true)
    add(path, 'made', "the firmware's variables are put back");
  if ((await statIfPresent(tpm)) !== undefined)
    add(snapshots.firmware.tpmDirectoryOf(domain), 'changed', "the TPM's contents are put back");
  return changes;
}

/** @throws VirtError snapshot.not-found */
export async function planDelete(
  snapshots: SnapshotWorld,
  domain: Domain,
  name: string,
  { scope, metadataOnly }: DeleteOptions,
): Promise<SnapshotPlan> {
  const going = meant(snapshots, domain, name, scope);
  refuseDelete(snapshots, domain, going, metadataOnly);
  const names = going.map((one) => one.name);
  const changes: PlannedChange[] = [];
  if (!metadataOnly) {
    let facts: FateFacts | undefined;
    for (const snapshot of going) {
      facts = withoutOne(facts ?? (await fateFacts(snapshots, domain, snapshot)), snapshot, names);
      const fates = isExternal(snapshot) ? fatesOf(snapshot, facts) : [];
      changes.push(...(await changesOfOne(snapshots, domain, snapshot)), ...fates.flatMap(changesOfFate));
      facts = fates.reduce(afterFate, facts);
    }
  }
  return {
    snapshots: names,
    changes,
    guest: domain.isActive ? 'runs-on' : 'off',
    losses: metadataOnly ? [] : names.map((one) => `the state '${one}'`),
    children: orphans(snapshots, domain, going),
  };
}

/** The facts for one of several that go in turn: those before it are gone, those after it are there. */
function withoutOne(facts: FateFacts, own: Snapshot, going: readonly string[]): FateFacts {
  const at = going.indexOf(own.name);
  const gone = new Set(going.slice(0, at + 1));
  return { ...facts, others: facts.others.filter(({ name }) => !gone.has(name)) };
}

function afterFate(facts: FateFacts, fate: ImageFate): FateFacts {
  if (fate.kind === 'keep') return facts;
  if (fate.kind === 'remove') return { ...facts, graph: facts.graph.without(fate.image.path) };
  const { top, image } = fate;
  const moved = (definition: DomainDef) => withImageReplaced(definition, top.path, image);
  return {
    ...facts,
    graph: facts.graph.without(top.path),
    current: facts.current.map(moved),
    others: facts.others.map((one) => ({ ...one, ...(one.domain && { domain: moved(one.domain) }) })),
  };
}

function changesOfFate(fate: ImageFate): PlannedChange[] {
  const { image } = fate;
  const at = { target: { dev: fate.target } };
  if (fate.kind === 'keep') return [change(image.path, 'kept', at, fate.reason)];
  if (fate.kind === 'remove') return [change(image.path, 'removed', at, 'nothing needs it any more')];
  return [
    change(image.path, 'changed', at, `gets what ${fate.top.path} holds`),
    change(fate.top.path, 'removed', at, `is merged into ${image.path}`),
  ];
}

async function changesOfOne(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
): Promise<PlannedChange[]> {
  const { domain: definition, memory, name } = snapshot;
  const changes: PlannedChange[] = [];
  if (definition !== undefined)
    for (const disk of taggedDisks({ ...snapshot, domain: definition }))
      changes.push(
        change(await snapshots.imageOf(disk), 'changed', disk, `loses the state '${name}' inside`),
      );
  if (memory?.file === undefined) return changes;
  const isOurs = await isStateOf(domain, memory.file);
  const why = isOurs ? `is the memory of '${name}'` : 'is no saved state of this domain';
  return [...changes, { ...memoryAt(memory.file), what: isOurs ? 'removed' : 'kept', why }];
}

/** Those that stay, and lose their parent. */
function orphans(
  snapshots: SnapshotWorld,
  domain: Domain,
  going: readonly Snapshot[],
): SnapshotPlan['children'] {
  const tree = snapshots.treeOf(domain);
  const gone = new Set(going.map(({ name }) => name));
  const survivor = (one: Snapshot): string | null => {
    let parent = tree.parentOf(one);
    while (parent !== undefined && gone.has(parent.name)) parent = tree.parentOf(parent);
    return parent?.name ?? null;
  };
  return tree.topological
    .filter((one) => !gone.has(one.name) && gone.has(one.parent?.name ?? ''))
    .map((one) => ({ name: one.name, parent: survivor(one) }));
}

function change(
  path: string,
  what: PlannedChange['what'],
  { target }: { readonly target: { readonly dev: string } },
  why: string,
): PlannedChange {
  return { path, what, part: 'disk', target: target.dev, why };
}

function removedImage(path: string, why: string): PlannedChange {
  return { path, what: 'removed', part: 'disk', target: null, why };
}

function memoryAt(path: string): Pick<PlannedChange, 'path' | 'part' | 'target'> {
  return { path, part: 'memory', target: null };
}
