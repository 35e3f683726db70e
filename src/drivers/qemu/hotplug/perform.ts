/** Carries a plan out: descriptors to QEMU, commands in order; and takes a device's parts away again. */
import { isVirtError, reasonOf } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Undo } from '../../../base/undo.ts';
import type { FdNeed } from '../argv/types.ts';
import type { DescriptorTable } from '../descriptors.ts';
import type { QmpClient } from '../qmp/client.ts';
import { type LivePlan, withDescriptors } from './steps.ts';

/** What the commands have made that was not known before. */
export interface Performed {
  /** Pseudo terminals by chardev id. */
  readonly ptys: Readonly<Record<string, string>>;
}

/** Sets of descriptors tell whose they are by this, so that they go with their device. */
const opaqueOf = (alias: string): string => `vireo ${alias}`;

/** Plugs in; each command's undo is added as it was done. @throws VirtError qmp.* */
export async function performPlan(
  qmp: QmpClient,
  plan: LivePlan,
  table: DescriptorTable,
  { alias, undo }: { readonly alias: string; readonly undo: Undo },
): Promise<Performed> {
  undo.add('give back descriptors', () => removeSets(qmp, alias));
  const real = await passDescriptors(qmp, plan, table, { alias, undo });
  const ptys: Record<string, string> = {};
  for (const { execute, arguments: args, undo: back } of plan.steps) {
    const answer = await qmp.executeRaw(execute, withDescriptors(args, real));
    if (back !== undefined)
      undo.add(`take back ${execute}`, async () => void (await qmp.executeRaw(back.execute, back.arguments)));
    const pty = (answer as { readonly pty?: unknown } | null)?.pty;
    const { id } = args;
    if (typeof id === 'string' && typeof pty === 'string') ptys[id] = pty;
  }
  return { ptys };
}

async function passDescriptors(
  qmp: QmpClient,
  plan: LivePlan,
  table: DescriptorTable,
  { alias, undo }: { readonly alias: string; readonly undo: Undo },
) {
  const numbers = new Map<number, number>();
  const opaque = opaqueOf(alias);
  for (const need of plan.command.fds) {
    if (need.kind === 'file') {
      for (const fd of [need.fd, need.roFd ?? need.fd].filter((one, at, all) => all.indexOf(one) === at))
        await qmp.addDescriptor(table.source(fd), { 'fdset-id': need.set, opaque });
    } else if (need.kind === 'passed') {
      await qmp.addDescriptor(table.source(need.fd), { 'fdset-id': need.set, opaque });
    } else if (isReadByNumber(need)) {
      const { fd } = await qmp.addDescriptor(table.source(need.fd), { opaque });
      numbers.set(need.fd, fd);
    } else {
      const fdname = nameOf(need.fd);
      await qmp.passDescriptor(fdname, table.source(need.fd));
      // Gone already when a command took it.
      undo.add('close a descriptor', () => ignoringFailure(qmp.executeRaw('closefd', { fdname })));
    }
  }
  return { nameOf, numberOf: (fd: number) => numbers.get(fd) ?? fd };
}

/** Files that QEMU opens again through /proc. */
function isReadByNumber({ kind }: FdNeed): boolean {
  return kind === 'copy' || kind === 'memory-file' || kind === 'secret';
}

const nameOf = (fd: number): string => `vireo-${fd}`;

async function ignoringFailure(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isVirtError(error, 'qmp.failed')) throw error;
  });
}

/** The first set that is free, and all above it. */
export async function firstFreeSet(qmp: QmpClient): Promise<number> {
  const sets = await qmp.execute('query-fdsets');
  return 1 + Math.max(0, ...sets.map((set) => set['fdset-id']));
}

/** Closes QEMU's descriptors of a device's files, and those of `sets`. */
async function removeSets(
  qmp: QmpClient,
  alias: string,
  sets: ReadonlySet<number> = new Set(),
): Promise<void> {
  const opaque = opaqueOf(alias);
  for (const { 'fdset-id': id, fds } of await qmp.execute('query-fdsets'))
    if (sets.has(id) || fds.some((fd) => fd.opaque === opaque))
      await ignoringFailure(qmp.execute('remove-fd', { 'fdset-id': id }));
}

/**
 * Takes away what is behind a device that the guest has let go of: nodes, back ends, objects, descriptors. What is not
 * there any more is passed over; what QEMU does not let go of is told in the log.
 */
export async function removeBackends(
  qmp: QmpClient,
  plan: LivePlan,
  { alias, log }: { readonly alias: string; readonly log: Logger },
): Promise<void> {
  const sets = await setsOf(qmp, plan);
  for (const { execute, undo } of plan.steps.toReversed()) {
    if (undo === undefined || execute === 'device_add') continue;
    try {
      await qmp.executeRaw(undo.execute, undo.arguments);
    } catch (error) {
      if (!isVirtError(error, 'qmp.failed')) throw error;
      log.debug({ alias, command: undo.execute, reason: reasonOf(error) }, 'a part of a device stays');
    }
  }
  await removeSets(qmp, alias, sets);
}

/** Sets that the device's nodes have open: those of the start tell by nothing else whose they are. */
async function setsOf(qmp: QmpClient, plan: LivePlan): Promise<Set<number>> {
  const names = new Set(
    plan.steps.flatMap(({ execute, arguments: args }) =>
      execute === 'blockdev-add' ? [args['node-name']] : [],
    ),
  );
  const sets = new Set<number>();
  if (names.size === 0) return sets;
  for (const node of await qmp.execute('query-named-block-nodes', { flat: true })) {
    const set = names.has(node['node-name']) ? /^\/dev\/fdset\/(\d+)$/.exec(node.file)?.[1] : undefined;
    if (set !== undefined) sets.add(Number(set));
  }
  return sets;
}
