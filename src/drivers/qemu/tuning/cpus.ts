/** Virtual CPUs of a running guest: which are plugged in, and plugging more or fewer (QEMU docs/system/cpu-hotplug). */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { GuestCpu } from '../../live-tuning.ts';
import type { QmpClient } from '../qmp/client.ts';

/** How long a guest may take to give CPUs back; libvirt waits five seconds for each device. */
const UNPLUG_MS = 5000;
const LOOK_AGAIN_MS = 50;

/** The levels of a topology from the outside in (qapi/machine.json, CpuInstanceProperties). */
const levels = [
  'node-id',
  'drawer-id',
  'book-id',
  'socket-id',
  'die-id',
  'cluster-id',
  'module-id',
  'core-id',
  'thread-id',
];

interface Slot {
  readonly type: string;
  /** Virtual CPUs that come with it: cores on ppc64 have several. */
  readonly count: number;
  readonly props: Readonly<Record<string, number>>;
  readonly path: string | undefined;
}

/** The CPUs that are plugged in, with their threads on the host. */
export async function guestCpus(qmp: QmpClient): Promise<GuestCpu[]> {
  const cpus = await qmp.execute('query-cpus-fast');
  return cpus
    .map((cpu) => ({ index: cpu['cpu-index'], threadId: cpu['thread-id'] }))
    .sort((a, b) => a.index - b.index);
}

/** Places for CPUs in the order of their numbers. */
async function slots(qmp: QmpClient): Promise<Slot[]> {
  const found = await qmp.execute('query-hotpluggable-cpus');
  return found
    .map((slot) => ({
      type: slot.type,
      count: slot['vcpus-count'],
      props: slot.props,
      path: slot['qom-path'],
    }))
    .sort(inOrder);
}

function inOrder(a: Slot, b: Slot): number {
  for (const level of levels.filter((name) => name !== 'node-id')) {
    const difference = (a.props[level] ?? 0) - (b.props[level] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const present = (all: readonly Slot[]) =>
  all.filter(({ path }) => path !== undefined).reduce((sum, { count }) => sum + count, 0);

/** Plugs in, or asks the guest to give back, until there are `wanted`; the answer is how many there are then. */
export async function setCpuCount(qmp: QmpClient, wanted: number): Promise<number> {
  const all = await slots(qmp);
  const now = present(all);
  if (wanted > now) await plug(qmp, all, wanted - now);
  if (wanted < now) await unplug(qmp, all, now - wanted);
  return present(await slots(qmp));
}

async function plug(qmp: QmpClient, all: readonly Slot[], more: number): Promise<void> {
  let missing = more;
  for (const [index, slot] of all.entries()) {
    if (missing <= 0 || slot.path !== undefined) continue;
    await qmp.execute('device_add', { driver: slot.type, id: `vcpu${index}`, ...slot.props });
    missing -= slot.count;
  }
}

/** The last ones first. Those that were there at boot have no id, and are named by their path. */
async function unplug(qmp: QmpClient, all: readonly Slot[], fewer: number): Promise<void> {
  let rest = fewer;
  const leaving: Slot[] = [];
  for (const slot of all.toReversed()) {
    if (slot.path === undefined || rest < slot.count) continue;
    leaving.push(slot);
    rest -= slot.count;
  }
  for (const { path = '' } of leaving)
    await qmp.execute('device_del', { id: path.replace(/^\/machine\/peripheral\//, '') }).catch(refused);
  await untilGone(qmp, all.length === 0 ? 0 : present(all) - fewer);
}

/** A request that the guest has not answered yet is still waiting, and that is no failure. */
function refused(error: unknown): void {
  if (isVirtError(error, 'qmp.failed') && /already in the process of unplug/i.test(error.reason)) return;
  if (!isVirtError(error, 'qmp.failed')) throw error;
  throw new VirtError('operation.failed', {
    wanted: 'take a virtual CPU away',
    reason: error.reason,
    cause: error,
  });
}

async function untilGone(qmp: QmpClient, goal: number): Promise<void> {
  const deadline = performance.now() + UNPLUG_MS;
  while (present(await slots(qmp)) > goal && performance.now() < deadline) await sleep(LOOK_AGAIN_MS);
}
