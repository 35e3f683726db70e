/** Methods about checkpoints onto the domain service. */
import type { Result } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import { type Checkpoint, checkpointNameProblem } from '../../../model/checkpoint/checkpoint.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type CheckpointHandlers = Pick<Handlers, Extract<keyof Handlers, `checkpoint.${string}`>>;

export function bindCheckpoints(domains: DomainService): CheckpointHandlers {
  const find = domainFinder(domains);
  const shown = (domain: Domain, one: Checkpoint): Result<'checkpoint.create'> => {
    const tree = domains.checkpoints.treeOf(domain);
    return {
      name: one.name,
      description: one.description ?? null,
      parent: tree.parentOf(one)?.name ?? null,
      children: tree.childrenOf(one.name).map(({ name }) => name),
      current: tree.current === one.name,
      createdAt: new Date(one.creationTime * 1000).toISOString(),
      disks: one.disks.map(({ name: target, checkpoint }) => ({ target, noted: checkpoint !== 'no' })),
    };
  };
  return {
    'checkpoint.create': async ({ domain: ref, name, description, disks = [], quiesce }) => {
      const problem = name === undefined ? undefined : checkpointNameProblem(name);
      if (problem !== undefined)
        throw new VirtError('request.invalid', {
          wanted: `make a checkpoint '${name}'`,
          reason: `the name ${problem}`,
        });
      const domain = find(ref);
      const wish = {
        ...(name !== undefined && { name }),
        ...(description !== undefined && { description }),
        disks: disks.map((target) => ({ name: target })),
      };
      return shown(domain, await domains.checkpoints.create(domain, wish, { quiesce }));
    },
    'checkpoint.list': async ({ domain: ref }) => {
      const domain = find(ref);
      const tree = domains.checkpoints.treeOf(domain);
      return {
        checkpoints: tree.topological.map((one) => shown(domain, one)),
        current: tree.current ?? null,
      };
    },
    'checkpoint.sizes': async ({ domain, checkpoint }) => ({
      disks: Object.fromEntries(await domains.checkpoints.sizes(find(domain), checkpoint)),
    }),
    'checkpoint.xml': async ({ domain, checkpoint }) => ({
      xml: await domains.checkpoints.xml(find(domain), checkpoint, {}),
    }),
    'checkpoint.define': async ({ domain: ref, xml, validate }) => {
      const domain = find(ref);
      return shown(domain, await domains.checkpoints.define(domain, xml, { mode: 'strict', validate }));
    },
    'checkpoint.delete': async ({ domain, checkpoint, scope, metadataOnly }) => ({
      deleted: await domains.checkpoints.delete(find(domain), checkpoint, { scope, metadataOnly }),
    }),
  };
}
