/** Shares and limits of a guest on its host: control groups, pins and schedulers of its threads, before it runs. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type GuestGroups, groupLimitsOf } from '../host-tuning/cgroups.ts';
import { limitsThreads, threadLimitsOf } from '../host-tuning/thread-groups.ts';
import { type GuestThreads, tunesThreads, tuneThreads } from '../host-tuning/threads.ts';
import type { QemuGuest } from './guest.ts';
import type { Launched } from './launch.ts';
import type { Starting } from './starting.ts';

/** The first element of a definition that needs control groups; undefined when none does. */
function firstLimit(definition: DomainDef): string | undefined {
  const [first] = Object.keys(groupLimitsOf(definition));
  if (first !== undefined) return first;
  if (confinedNodes(definition) !== undefined) return 'numatune.memory.mode';
  const [thread] = Object.keys(threadLimitsOf(definition));
  if (thread !== undefined) return `cputune.${thread === 'vcpu' ? '' : `${thread}_`}quota`;
  return (definition.blkiotune?.devices.length ?? 0) > 0 ? 'blkiotune.device' : undefined;
}

/** The nodes that a group has to keep a guest's memory on: of mode restrictive, whose policy QEMU does not set. */
function confinedNodes({ numatune }: DomainDef): string | undefined {
  return numatune?.memory?.mode === 'restrictive' ? numatune.memory.nodeset : undefined;
}

/** @throws VirtError definition.unsupported for limits where no control groups are used: for a user's own guests */
export function requireGroups(definition: DomainDef, groups: GuestGroups | undefined): void {
  const path = firstLimit(definition);
  if (path === undefined || groups !== undefined) return;
  throw new VirtError('definition.unsupported', {
    wanted: `use the definition of '${definition.name}'`,
    reason: `${path} needs control groups, which a session has not`,
    hint: 'leave it out, or define the domain in the system connection',
    details: { problems: [{ path, message: 'needs control groups' }] },
  });
}

/**
 * Gives a guest a scope of its own where systemd runs. A guest without one runs as well, in the daemon's own group: a
 * systemd that cannot be asked (no bus) is told in the log.
 */
export async function placeGuest(
  { deps: { options } }: Starting,
  { name, uuid = '' }: DomainDef,
  id: number,
  { child, helpers }: Launched,
): Promise<void> {
  try {
    const pids = [child.pid, ...helpers.map(({ pid }) => pid)];
    await options.placeInScope?.({ id, name, uuid, pids });
  } catch (error) {
    const reason = reasonOf(error);
    options.logger.warn({ domain: name, reason }, 'systemd made no scope for a guest; it stays in our group');
  }
}

/**
 * While QEMU still begins: its memory goes where the definition keeps it, and its time is counted by processor where the
 * host can. @throws VirtError request.unsupported, request.invalid, system.call
 */
export async function confineGuest(
  starting: Starting,
  definition: DomainDef,
  { child }: Launched,
): Promise<void> {
  const { groups, logger } = starting.deps.options;
  if (groups === undefined) return;
  const { name, uuid = '' } = definition;
  const nodes = confinedNodes(definition);
  if (nodes !== undefined) await groups.confineMemory(child.pid, uuid, nodes);
  try {
    await groups.account(child.pid, uuid);
  } catch (error) {
    logger.debug(
      { domain: name, reason: reasonOf(error) },
      'the time of a guest is not counted by processor',
    );
  }
}

/** Puts everything into effect. @throws VirtError request.unsupported, request.invalid, system.call, qmp.* */
export async function limitGuest(starting: Starting, guest: QemuGuest): Promise<void> {
  const { definition, record } = guest;
  const { groups, timeouts } = starting.deps.options;
  const uuid = definition.uuid ?? '';
  if (groups !== undefined && firstLimit(definition) !== undefined) {
    const limits = groupLimitsOf(definition);
    if (Object.keys(limits).length > 0) await groups.limit(record.pid, uuid, limits);
    await groups.limitDevices(record.pid, uuid, definition.blkiotune?.devices ?? []);
  }
  if (!tunesThreads(definition) && !limitsThreads(definition)) return;
  const { cpus = [], iothreads = [] } = await guest.tuning.sample(['cpus', 'iothreads'], timeouts.commandMs);
  const threads: GuestThreads = { pid: record.pid, vcpus: cpus, iothreads };
  tuneThreads(definition, threads);
  await groups?.limitThreads(threads, uuid, threadLimitsOf(definition));
}
