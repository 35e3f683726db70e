/** Snapshots of domains: making, finding, returning, deleting. */
import { isVirtError, type VirtError } from '../../../../base/errors.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireDomain } from '../../../../libvirt/protocol/objects.ts';
import { parseSnapshot, type Snapshot } from '../../../../model/snapshot/snapshot.ts';
import type { Domain } from '../../../services/domain.ts';
import type { SnapshotFilter, SnapshotTree } from '../../../services/snapshot-tree.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { validate } from './schema.ts';
import { atMost, checkFlags, domainOf, invalid, telling, wireDomainOf } from './support.ts';

/** virDomainSnapshotCreateFlags. `atomic` is how every one is made. */
const createFlag = {
  redefine: 1,
  current: 2,
  noMetadata: 4,
  halt: 8,
  diskOnly: 16,
  reuseExternal: 32,
  quiesce: 64,
  atomic: 128,
  live: 256,
  validate: 512,
} as const;
/** virDomainSnapshotListFlags. The first means roots for a domain, and all below for a snapshot. */
const listFlag = {
  rootsOrDescendants: 1,
  metadata: 2,
  leaves: 4,
  noLeaves: 8,
  noMetadata: 16,
  inactive: 32,
  active: 64,
  diskOnly: 128,
  internal: 256,
  external: 512,
  topological: 1024,
} as const;
const allListFlags = 0x7ff;
/** virDomainSnapshotRevertFlags. */
const revertFlag = { running: 1, paused: 2, force: 4, resetNvram: 8 } as const;
/** virDomainSnapshotDeleteFlags. */
const deleteFlag = { children: 1, metadataOnly: 2, childrenOnly: 4 } as const;
const xmlFlag = { secure: 1 } as const;

interface WireSnapshot {
  readonly name: string;
  readonly dom: WireDomain;
}

const wire = (domain: Domain, { name }: Pick<Snapshot, 'name'>) => ({ name, dom: wireDomainOf(domain) });

export function domainSnapshotHandlers(engine: Engine) {
  return {
    ...lists(engine),
    ...lookups(engine),
    ...facts(engine),
    ...changes(engine),
  } satisfies RemoteHandlers;
}

/** The snapshot a client means, with its domain and all others. @throws LibvirtError no domain, no domain snapshot */
function snapshotOf(engine: Engine, { dom, name }: WireSnapshot) {
  const domain = domainOf(engine, dom);
  return { domain, tree: engine.domains.snapshots.treeOf(domain), snapshot: lookUp(engine, domain, name) };
}

function lists(engine: Engine) {
  const ofDomain = ({ dom, flags }: { dom: WireDomain; flags: number }, call: Call) => {
    checkFlags(flags, allListFlags, call);
    const domain = domainOf(engine, dom);
    const tree = engine.domains.snapshots.treeOf(domain);
    return { domain, list: listed(tree, tree.topological, flags, { rootsOnly: has(flags, 1) }) };
  };
  const below = (snap: WireSnapshot, flags: number, call: Call) => {
    checkFlags(flags, allListFlags, call);
    const { domain, tree, snapshot } = snapshotOf(engine, snap);
    const all = has(flags, listFlag.rootsOrDescendants);
    const list = all ? tree.descendantsOf(snapshot.name) : tree.childrenOf(snapshot.name);
    return { domain, list: listed(tree, list, flags, { rootsOnly: false }) };
  };
  return {
    domainSnapshotNum: (args, call) => ({ num: ofDomain(args, call).list.length }),
    domainSnapshotListNames: ({ maxnames, ...args }, call) => ({
      names: atMost(namesOf(ofDomain(args, call).list), maxnames),
    }),
    domainListAllSnapshots: ({ needResults, ...args }, call) => {
      const { domain, list } = ofDomain(args, call);
      return { snapshots: needResults === 0 ? [] : list.map((one) => wire(domain, one)), ret: list.length };
    },
    domainSnapshotNumChildren: ({ snap, flags }, call) => ({ num: below(snap, flags, call).list.length }),
    domainSnapshotListChildrenNames: ({ snap, maxnames, flags }, call) => ({
      names: atMost(namesOf(below(snap, flags, call).list), maxnames),
    }),
    domainSnapshotListAllChildren: ({ snapshot: snap, needResults, flags }, call) => {
      const { domain, list } = below(snap, flags, call);
      return { snapshots: needResults === 0 ? [] : list.map((one) => wire(domain, one)), ret: list.length };
    },
  } satisfies RemoteHandlers;
}

function lookups(engine: Engine) {
  const { snapshots } = engine.domains;
  return {
    domainSnapshotLookupByName: ({ dom, name, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      return { snap: wire(domain, lookUp(engine, domain, name)) };
    },
    domainSnapshotCurrent: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const { current } = snapshots.treeOf(domain);
      if (current === undefined)
        throw new LibvirtError(errorNumber.noDomainSnapshot, 'the domain does not have a current snapshot');
      return { snap: wire(domain, { name: current }) };
    },
    domainSnapshotGetParent: ({ snap, flags }, call) => {
      checkFlags(flags, 0, call);
      const { domain, tree, snapshot } = snapshotOf(engine, snap);
      const parent = tree.parentOf(snapshot);
      if (parent === undefined)
        throw new LibvirtError(
          errorNumber.noDomainSnapshot,
          `snapshot '${snapshot.name}' does not have a parent`,
        );
      return { snap: wire(domain, parent) };
    },
  } satisfies RemoteHandlers;
}

function facts(engine: Engine) {
  const { snapshots } = engine.domains;
  return {
    domainSnapshotGetXmlDesc: ({ snap, flags }, call) => {
      checkFlags(flags, xmlFlag.secure, call);
      const { domain, snapshot } = snapshotOf(engine, snap);
      return { xml: snapshots.xml(domain, snapshot.name, { secure: has(flags, xmlFlag.secure) }) };
    },
    domainHasCurrentSnapshot: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      return { result: snapshots.treeOf(domainOf(engine, dom)).current === undefined ? 0 : 1 };
    },
    domainSnapshotIsCurrent: ({ snap, flags }, call) => {
      checkFlags(flags, 0, call);
      const { tree, snapshot } = snapshotOf(engine, snap);
      return { current: tree.current === snapshot.name ? 1 : 0 };
    },
    domainSnapshotHasMetadata: ({ snap, flags }, call) => {
      checkFlags(flags, 0, call);
      snapshotOf(engine, snap);
      return { metadata: 1 };
    },
  } satisfies RemoteHandlers;
}

function changes(engine: Engine) {
  const { snapshots } = engine.domains;
  return {
    domainSnapshotCreateXml: async ({ dom, xmlDesc, flags }, call) => {
      const domain = domainOf(engine, dom);
      return { snap: wire(domain, await create(engine, domain, xmlDesc, flags, call)) };
    },
    domainRevertToSnapshot: async ({ snap, flags }, call) => {
      const known = revertFlag.running | revertFlag.paused | revertFlag.force | revertFlag.resetNvram;
      checkFlags(flags, known, call);
      if (has(flags, revertFlag.running) && has(flags, revertFlag.paused))
        throw invalid(`running and paused flags in ${call.name} are mutually exclusive`);
      const { domain, snapshot } = snapshotOf(engine, snap);
      const state = has(flags, revertFlag.running)
        ? 'running'
        : has(flags, revertFlag.paused)
          ? 'paused'
          : undefined;
      await snapshots.revert(domain, snapshot.name, {
        ...(state && { state }),
        resetNvram: has(flags, revertFlag.resetNvram),
        force: has(flags, revertFlag.force),
      });
    },
    domainSnapshotDelete: async ({ snap, flags }, call) => {
      checkFlags(flags, deleteFlag.children | deleteFlag.metadataOnly | deleteFlag.childrenOnly, call);
      if (has(flags, deleteFlag.children) && has(flags, deleteFlag.childrenOnly))
        throw invalid(`children and children_only flags in ${call.name} are mutually exclusive`);
      const { domain, snapshot } = snapshotOf(engine, snap);
      const scope = has(flags, deleteFlag.children)
        ? 'with-children'
        : has(flags, deleteFlag.childrenOnly)
          ? 'children-only'
          : 'one';
      const metadataOnly = has(flags, deleteFlag.metadataOnly);
      await snapshots.delete(domain, snapshot.name, { scope, metadataOnly });
    },
  } satisfies RemoteHandlers;
}

const has = (flags: number, bit: number): boolean => (flags & bit) !== 0;
const namesOf = (list: readonly Snapshot[]): string[] => list.map(({ name }) => name);

/** @throws LibvirtError no domain snapshot */
function lookUp(engine: Engine, domain: Domain, name: string): Snapshot {
  try {
    return engine.domains.snapshots.find(domain, name);
  } catch (error) {
    if (!isVirtError(error, 'snapshot.not-found')) throw error;
    throw new LibvirtError(errorNumber.noDomainSnapshot, `no domain snapshot with matching name '${name}'`);
  }
}

/** The ones that the filter bits leave. Each of ours has metadata; the order is that of the tree, or by name. */
function listed(
  tree: SnapshotTree,
  list: readonly Snapshot[],
  flags: number,
  { rootsOnly }: { readonly rootsOnly: boolean },
): Snapshot[] {
  const hasGroup = has(flags, listFlag.metadata | listFlag.noMetadata);
  if (hasGroup && !has(flags, listFlag.metadata)) return [];
  const kept = tree.filter(list, { ...filterOf(flags), ...(rootsOnly && { roots: true }) });
  if (has(flags, listFlag.topological)) return kept;
  return kept.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function filterOf(flags: number): SnapshotFilter {
  const leaves = has(flags, listFlag.leaves);
  const noLeaves = has(flags, listFlag.noLeaves);
  const states = (
    [
      [listFlag.inactive, 'inactive'],
      [listFlag.active, 'active'],
      [listFlag.diskOnly, 'disk-only'],
    ] as const
  ).flatMap(([bit, word]) => (has(flags, bit) ? [word] : []));
  const locations = (
    [
      [listFlag.internal, 'internal'],
      [listFlag.external, 'external'],
    ] as const
  ).flatMap(([bit, word]) => (has(flags, bit) ? [word] : []));
  return {
    ...(leaves !== noLeaves && { leaves }),
    ...(states.length > 0 && { states }),
    ...(locations.length > 0 && { locations }),
  };
}

async function create(
  engine: Engine,
  domain: Domain,
  xml: string,
  flags: number,
  call: Call,
): Promise<Snapshot> {
  checkFlags(flags, 0x3ff, call);
  const { snapshots } = engine.domains;
  if (has(flags, createFlag.quiesce) && !has(flags, createFlag.diskOnly))
    throw invalid(`disk-only flag is required by quiesce flag in ${call.name}`);
  if (has(flags, createFlag.live) && has(flags, createFlag.redefine))
    throw invalid(`live and redefine flags in ${call.name} are mutually exclusive`);
  if (has(flags, createFlag.validate)) await validate('domainsnapshot', xml);
  if (has(flags, createFlag.redefine) && has(flags, createFlag.diskOnly)) refuseOtherThanDisks(xml);
  if (has(flags, createFlag.redefine))
    return snapshots.define(domain, xml, { mode: 'lenient', makeCurrent: has(flags, createFlag.current) });
  const { definition } = parseSnapshot(xml, { mode: 'lenient' });
  const { name, description, memory, disks } = definition;
  const wish = {
    ...(name !== undefined && { name }),
    ...(description !== undefined && { description }),
    ...(memory && { memory }),
    disks,
  };
  const halted = () =>
    new LibvirtError(errorNumber.operationInvalid, 'cannot halt after transient domain snapshot');
  const notLive = ({ reason }: VirtError) => new LibvirtError(errorNumber.operationUnsupported, reason);
  const make = () =>
    snapshots.create(domain, wish, {
      diskOnly: has(flags, createFlag.diskOnly),
      quiesce: has(flags, createFlag.quiesce),
      halt: has(flags, createFlag.halt),
      live: has(flags, createFlag.live),
      reuse: has(flags, createFlag.reuseExternal),
      noMetadata: has(flags, createFlag.noMetadata),
    });
  return telling('domain.transient', halted, () => telling('request.unsupported', notLive, make));
}

/** @throws LibvirtError for a document of a snapshot that is not one of disks of a running guest alone */
function refuseOtherThanDisks(xml: string): void {
  const { name = '', state } = parseSnapshot(xml, { mode: 'lenient' }).definition;
  if (state !== 'disk-snapshot')
    throw invalid(`disk-only flag for snapshot ${name} requires disk-snapshot state`);
}
