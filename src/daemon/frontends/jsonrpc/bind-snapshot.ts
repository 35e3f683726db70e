/** Methods about snapshots onto the domain service. */
import type { Params, Result } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import { pathOf } from '../../../model/snapshot/disks.ts';
import { snapshotNameProblem } from '../../../model/snapshot/name.ts';
import { isExternal, type Snapshot, type SnapshotDef } from '../../../model/snapshot/snapshot.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { CreateOptions } from '../../services/domain-snapshot-create.ts';
import type { RevertOptions } from '../../services/domain-snapshot-revert.ts';
import type { SnapshotPlan } from '../../services/snapshot-plan.ts';
import type { SnapshotTree } from '../../services/snapshot-tree.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type SnapshotHandlers = Pick<Handlers, Extract<keyof Handlers, `snapshot.${string}`>>;

export function bindSnapshots(domains: DomainService): SnapshotHandlers {
  const find = domainFinder(domains);
  const shown = (domain: Domain, snapshot: Snapshot) =>
    snapshotOf(snapshot, domains.snapshots.treeOf(domain));
  return {
    'snapshot.create': async ({ domain: ref, ...wish }) => {
      const domain = find(ref);
      return shown(domain, await domains.snapshots.create(domain, wishOf(wish), createOptions(wish)));
    },
    'snapshot.plan': ({ domain: ref, create, revert, delete: gone }) => {
      const domain = find(ref);
      const { snapshots } = domains;
      if ([create, revert, gone].filter((one) => one !== undefined).length !== 1)
        throw new VirtError('request.invalid', {
          wanted: 'plan work with a snapshot',
          reason: "exactly one of 'create', 'revert' and 'delete' has to be given",
        });
      if (create !== undefined)
        return snapshots.planCreate(domain, wishOf(create), createOptions(create)).then(planOf);
      if (revert !== undefined)
        return snapshots.planRevert(domain, revert.snapshot, revertOptions(revert)).then(planOf);
      const { snapshot, scope, metadataOnly } = gone as NonNullable<typeof gone>;
      return snapshots.planDelete(domain, snapshot, { scope, metadataOnly }).then(planOf);
    },
    'snapshot.list': async ({ domain: ref }) => {
      const tree = domains.snapshots.treeOf(find(ref));
      return {
        snapshots: tree.topological.map((one) => snapshotOf(one, tree)),
        current: tree.current ?? null,
      };
    },
    'snapshot.get': async ({ domain: ref, snapshot }) => {
      const domain = find(ref);
      return shown(domain, domains.snapshots.find(domain, snapshot));
    },
    'snapshot.xml': async ({ domain, snapshot }) => ({
      xml: domains.snapshots.xml(find(domain), snapshot, { secure: false }),
    }),
    'snapshot.define': async ({ domain: ref, xml, current }) => {
      const domain = find(ref);
      return shown(
        domain,
        await domains.snapshots.define(domain, xml, { mode: 'strict', makeCurrent: current }),
      );
    },
    'snapshot.revert': async ({ domain, snapshot, ...wish }) => {
      await domains.snapshots.revert(find(domain), snapshot, revertOptions(wish));
      return {};
    },
    'snapshot.delete': async ({ domain, snapshot, scope, metadataOnly }) => ({
      deleted: await domains.snapshots.delete(find(domain), snapshot, { scope, metadataOnly }),
    }),
  };
}

type CreateWish = Omit<Params<'snapshot.create'>, 'domain'>;

function createOptions({ diskOnly, quiesce, live, halt, reuse, metadata }: CreateWish): CreateOptions {
  return { diskOnly, quiesce, live, halt, reuse, noMetadata: !metadata };
}

function revertOptions({
  state,
  resetNvram,
  force,
}: Pick<Params<'snapshot.revert'>, 'state' | 'resetNvram' | 'force'>): RevertOptions {
  return { ...(state && { state }), resetNvram, force };
}

function planOf({ snapshots, changes, guest, losses, children }: SnapshotPlan): Result<'snapshot.plan'> {
  return {
    snapshots: [...snapshots],
    changes: [...changes],
    guest,
    losses: [...losses],
    children: [...children],
  };
}

/** The wish as a document has it. @throws VirtError request.invalid */
function wishOf({
  name,
  description,
  memoryPath,
  disks,
}: Pick<Params<'snapshot.create'>, 'name' | 'description' | 'memoryPath' | 'disks'>): SnapshotDef {
  const problem = name === undefined ? undefined : snapshotNameProblem(name);
  if (problem !== undefined)
    throw new VirtError('request.invalid', {
      wanted: `make a snapshot '${name}'`,
      reason: `the name ${problem}`,
    });
  return {
    ...(name !== undefined && { name }),
    ...(description !== undefined && { description }),
    ...(memoryPath !== undefined && { memory: { snapshot: 'external', file: memoryPath } }),
    disks: disks.map(({ target, location, path, format }) => ({
      name: target,
      ...(location !== undefined && { snapshot: location }),
      ...(format !== undefined && { driver: { type: format } }),
      ...(path !== undefined && {
        source: { type: 'file' as const, file: path, slices: [], seclabels: [] },
      }),
    })),
  };
}

function snapshotOf(one: Snapshot, tree: SnapshotTree): Result<'snapshot.get'> {
  return {
    name: one.name,
    description: one.description ?? null,
    state: one.state,
    parent: tree.parentOf(one)?.name ?? null,
    children: tree.childrenOf(one.name).map(({ name }) => name),
    current: tree.current === one.name,
    createdAt: new Date(one.creationTime * 1000).toISOString(),
    memory: one.memory?.snapshot ?? 'no',
    memoryPath: one.memory?.file ?? null,
    location: isExternal(one) ? 'external' : 'internal',
    disks: one.disks.map(({ name: target, snapshot = 'no', source }) => ({
      target,
      location: snapshot,
      path: (source && pathOf({ source })) ?? null,
    })),
  };
}
