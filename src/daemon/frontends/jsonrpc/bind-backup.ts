/** Methods about backups onto the domain service. */
import type { Result } from '../../../api/index.ts';
import { formatBackup, parseBackup } from '../../../model/backup/backup.ts';
import { parseCheckpoint } from '../../../model/checkpoint/checkpoint.ts';
import { type Archive, filesOf } from '../../archives/archive.ts';
import type { Plan } from '../../archives/plans.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type BackupHandlers = Pick<Handlers, Extract<keyof Handlers, `backup.${string}`>>;

export function bindBackups(domains: DomainService): BackupHandlers {
  const find = domainFinder(domains);
  const shownPlan = (plan: Plan) => planOf(plan, domains.archives.planner.dueAt(plan));
  return {
    'backup.begin': async ({ domain, xml, checkpointXml, reuse, quiesce }) => {
      const { definition } = parseBackup(xml, { mode: 'strict' });
      const checkpoint =
        checkpointXml === undefined
          ? undefined
          : parseCheckpoint(checkpointXml, { mode: 'strict' }).definition;
      const begun = await domains.backups.begin(find(domain), definition, {
        ...{ reuse, quiesce },
        ...(checkpoint && { checkpoint }),
      });
      return { xml: formatBackup(begun.definition) };
    },
    'backup.xml': async ({ domain }) => ({ xml: domains.backups.xml(find(domain)) }),
    'backup.cancel': async ({ domain }) => ({
      outcome: (await domains.backups.cancel(find(domain))).outcome,
    }),
    'backup.create': async ({ domain, ...wish }) => {
      const { archive, whyFull } = await domains.archives.create(find(domain), wish);
      return { ...backupOf(archive), whyFull: whyFull ?? null };
    },
    'backup.list': async ({ directory, domain }) => {
      const { archives: found, broken } = await domains.archives.list(directory);
      const own = found.filter(
        ({ manifest }) =>
          domain === undefined || [manifest.domain.name, manifest.domain.uuid].includes(domain),
      );
      return { backups: own.map(backupOf), broken: broken.map((one) => ({ ...one })) };
    },
    'backup.verify': async ({ path }) => {
      const { findings } = await domains.archives.verify(path);
      return { good: findings.length === 0, findings: findings.map((one) => ({ ...one })) };
    },
    'backup.restore': async ({ path, ...wish }) => {
      const { uuid, name } = await domains.archives.restore(path, wish);
      return { domain: { uuid, name } };
    },
    'backup.delete': async ({ path, dependents }) => ({
      deleted: await domains.archives.delete(path, { dependents }),
    }),
    'backup.plan-set': async ({ domain, ...wish }) => {
      const { uuid, name } = find(domain);
      return shownPlan(await domains.archives.setPlan({ ...wish, domain: { uuid, name } }));
    },
    'backup.plan-list': async () => ({ plans: domains.archives.plans.all.map(shownPlan) }),
    'backup.plan-run': async ({ name }) => shownPlan(await domains.archives.planner.runNow(name)),
    'backup.plan-remove': async ({ name }) => {
      await domains.archives.removePlan(name);
      return {};
    },
  };
}

function backupOf({ id, path, manifest }: Archive): Result<'backup.list'>['backups'][number] {
  const { domain, takenAtMs, kind, parent, guest, plan, disks } = manifest;
  return {
    ...{ id, path, kind, guest },
    domain: { ...domain },
    takenAt: new Date(takenAtMs).toISOString(),
    parent: parent ?? null,
    plan: plan ?? null,
    bytes: filesOf(manifest).reduce((sum, { bytes }) => sum + bytes, 0),
    disks: disks.map(({ target, capacityBytes, isIncremental, file }) => ({
      ...{ target, capacityBytes },
      bytes: file.bytes,
      incremental: isIncremental,
    })),
  };
}

function planOf(plan: Plan, dueAtMs: number): Result<'backup.plan-set'> {
  const { name, domain, directory, schedule, keep, fullEvery, quiesce, compressed, lastRun } = plan;
  return {
    ...{ name, domain: { ...domain }, directory, schedule: { ...schedule }, keep: { ...keep } },
    ...{ fullEvery, quiesce, compressed },
    nextRunAt: new Date(dueAtMs).toISOString(),
    lastRun:
      lastRun === undefined
        ? null
        : {
            at: new Date(lastRun.atMs).toISOString(),
            backup: lastRun.backup ?? null,
            error: lastRun.error ?? null,
          },
  };
}
