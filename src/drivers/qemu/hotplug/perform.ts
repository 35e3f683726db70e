/** Carries a plan out: descriptors to QEMU, commands in order; and takes a device's parts away again. */
import { isVirtError, reasonOf } from '../../../base/errors.ts';
import { currentAsker } from '../../../base/late-answers.ts';
import type { Logger } from '../../../base/log.ts';
import type { Undo } from '../../../base/undo.ts';
import type { FdNeed, JsonObject } from '../argv/types.ts';
import type { DescriptorTable } from '../descriptors.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { DescriptorSets } from './descriptor-sets.ts';
import { type LivePlan, type LiveStep, type RealDescriptors, withDescriptors } from './steps.ts';

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
  { alias, sets, undo }: Performing,
): Promise<Performed> {
  undo.add('give back descriptors', async () => {
    sets.forget(alias, plan.steps);
    await removeSets(qmp, alias);
  });
  sets.noteNodes(plan.steps);
  const passing = passDescriptors(qmp, plan, table, { alias, sets, undo });
  const ptys: Record<string, string> = {};
  const perform = async ({ execute, arguments: args, undo: back }: LiveStep): Promise<void> => {
    const answer = await qmp.executeRaw(execute, withDescriptors(args, passing.real));
    if (back !== undefined)
      undo.add(`take back ${execute}`, async () => void (await qmp.executeRaw(back.execute, back.arguments)));
    const pty = (answer as { readonly pty?: unknown } | null)?.pty;
    const { id } = args;
    if (typeof id === 'string' && typeof pty === 'string') ptys[id] = pty;
  };
  const chain = chainOf(plan);
  await settled([...passing.answers, ...qmp.together(() => chain.map(perform))]);
  refuseIfLate();
  for (const step of plan.steps.slice(chain.length)) await perform(step);
  return { ptys };
}

interface Performing {
  readonly alias: string;
  readonly sets: DescriptorSets;
  readonly undo: Undo;
}

/** All have ended, whichever failed; then the first failure is told, which the others may have come from. */
async function settled(work: readonly Promise<unknown>[]): Promise<void> {
  const outcomes = await Promise.allSettled(work);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/** Sent at once, some of it was done after its time: the rest is not begun. @throws VirtError qmp.timeout */
function refuseIfLate(): void {
  const refusal = currentAsker()?.refusal();
  if (refusal !== undefined) throw refusal;
}

/**
 * The first commands, each of which needs what the one before it makes, but no answer: they are sent without waiting. QEMU
 * takes one after the other; behind one that fails the others fail as well.
 */
function chainOf({ steps, command }: LivePlan): readonly LiveStep[] {
  if (command.fds.some(isReadByNumber)) return [];
  const end = steps.findIndex(({ execute, arguments: args }, at) => {
    if (execute === 'netdev_add') return at > 0;
    return execute !== 'blockdev-add' || (at > 0 && !needs(args, steps[at - 1]?.arguments['node-name']));
  });
  return end < 0 ? steps : steps.slice(0, end);
}

/** Whether a node stands on that one, as its file or below it. */
const needs = (args: LiveStep['arguments'], node: unknown): boolean =>
  node !== undefined && (args['file'] === node || args['backing'] === node);

interface Passing {
  readonly real: RealDescriptors;
  /** Fulfilled when all descriptors are there: before that, numbers are not known. */
  readonly answers: readonly Promise<unknown>[];
}

/** Sends all descriptors, one behind the other. */
function passDescriptors(
  qmp: QmpClient,
  plan: LivePlan,
  table: DescriptorTable,
  { alias, sets, undo }: Performing,
): Passing {
  const numbers = new Map<number, number>();
  const opaque = opaqueOf(alias);
  const answers = plan.command.fds.flatMap((need): Promise<unknown>[] => {
    if (need.kind === 'file' || need.kind === 'passed') {
      const { set } = need;
      sets.give(alias, set);
      const fds = need.kind === 'file' ? [...new Set([need.fd, need.roFd ?? need.fd])] : [need.fd];
      // One of a set tells whose it is.
      return fds.map((fd, at) =>
        qmp.addDescriptor(table.source(fd), { 'fdset-id': set, ...(at === 0 && { opaque }) }),
      );
    }
    if (isReadByNumber(need)) {
      const pass = async (): Promise<void> => {
        const { set, fd } = await qmp.addDescriptor(table.source(need.fd), { opaque });
        sets.give(alias, set);
        numbers.set(need.fd, fd);
      };
      return [pass()];
    }
    const fdname = nameOf(need.fd);
    // Gone already when a command took it.
    undo.add('close a descriptor', () => ignoringFailure(qmp.executeRaw('closefd', { fdname })));
    return [qmp.passDescriptor(fdname, table.source(need.fd))];
  });
  return { real: { nameOf, numberOf: (fd) => numbers.get(fd) ?? fd }, answers };
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
  { alias, sets, log }: { readonly alias: string; readonly sets: DescriptorSets; readonly log: Logger },
): Promise<void> {
  const known = sets.known(alias, plan.steps);
  const found = known ?? (await setsOf(qmp, plan));
  sets.forget(alias, plan.steps);
  const remove = async (command: string, args: JsonObject): Promise<void> => {
    try {
      await qmp.executeRaw(command, args);
    } catch (error) {
      if (!isVirtError(error, 'qmp.failed')) throw error;
      log.debug({ alias, command, reason: reasonOf(error) }, 'a part of a device stays');
    }
  };
  const backs = plan.steps
    .toReversed()
    .flatMap(({ execute, undo }) => (execute === 'device_add' ? [] : (undo ?? [])));
  const closings = (known ?? []).map((set) => ({ execute: 'remove-fd', arguments: { 'fdset-id': set } }));
  // None needs the answer of another: QEMU takes them in their order.
  await settled(
    qmp.together(() => [...backs, ...closings].map((back) => remove(back.execute, back.arguments))),
  );
  if (known === undefined) await removeSets(qmp, alias, new Set(found));
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
