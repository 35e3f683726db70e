/** Virtual CPUs of a running guest: which are plugged in, and plugging more or fewer (QEMU docs/system/cpu-hotplug). */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { CpuPlace, GuestCpu } from '../../live-tuning.ts';
import type { QmpClient } from '../qmp/client.ts';

/** How long a guest may take to give CPUs back; libvirt waits five seconds for each device. */
const UNPLUG_MS = 5000;
const LOOK_AGAIN_MS = 50;
/** Where QOM has devices that have an id: those that were plugged in. */
const PLUGGED = '/machine/peripheral/';

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
  const found = await qmp.execute('query-hotpluggable-cpus').catch((error: unknown) => {
    if (!isVirtError(error, 'qmp.failed')) throw error;
    throw new VirtError('request.unsupported', {
      wanted: 'plug virtual CPUs',
      reason: `the machine type has no places for them: ${error.reason}`,
      cause: error,
    });
  });
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

/** The places with what QEMU has in them. @throws VirtError qmp.* */
export async function cpuPlaces(qmp: QmpClient): Promise<CpuPlace[]> {
  const all = await slots(qmp);
  const running = await qmp.execute('query-cpus-fast');
  // QEMU lists CPUs as they came.
  const inTime = [...new Set(running.map((cpu) => all.find((slot) => isIn(cpu['qom-path'], slot))))];
  let first = 0;
  return all.map((slot) => {
    const alias = slot.path?.startsWith(PLUGGED) === true ? slot.path.slice(PLUGGED.length) : undefined;
    const place = {
      first,
      count: slot.count,
      isPresent: slot.path !== undefined,
      ...(alias !== undefined && { alias }),
      ...(slot.path !== undefined && { order: 1 + inTime.indexOf(slot) }),
    };
    first += slot.count;
    return place;
  });
}

/** Cores of ppc64 have their threads below them. */
const isIn = (path: string, slot: Slot) => slot.path !== undefined && `${path}/`.startsWith(`${slot.path}/`);

/** Fills places, by the numbers of their first CPUs, one after the other. @throws VirtError qmp.failed */
export async function plugCpus(qmp: QmpClient, firsts: readonly number[]): Promise<void> {
  const all = await slots(qmp);
  for (const first of firsts) {
    const slot = slotAt(all, first);
    await qmp.execute('device_add', { driver: slot.type, id: `vcpu${first}`, ...slot.props });
  }
}

/**
 * Without KVM, QEMU frees a CPU that was taken away but goes on telling it of changes of the memory map: its heap is
 * broken, and it aborts when the guest resets or a device comes. Seen with 7.2 each time, with 10.0 no more.
 * @throws VirtError request.unsupported
 */
export function refuseEmulatedUnplug({ version }: Pick<QmpClient, 'version'>): void {
  if (version.major >= 10) return;
  throw new VirtError('request.unsupported', {
    wanted: 'take a virtual CPU away',
    reason: `without KVM, QEMU ${version.major}.${version.minor} keeps using a CPU that is gone, and crashes at the guest's next reset`,
    hint: "have the guest take it offline: 'vireo domain set-vcpus DOMAIN COUNT --guest'",
  });
}

/**
 * Asks the guest to give back the CPUs of these places, and waits some seconds for it. Those that were there at boot
 * have no id, and are named by their path. @throws VirtError operation.failed, qmp.*
 */
export async function unplugCpus(qmp: QmpClient, firsts: readonly number[]): Promise<void> {
  const all = await slots(qmp);
  for (const first of firsts) {
    const { path = '' } = slotAt(all, first);
    await qmp.execute('device_del', { id: path.replace(PLUGGED, '') }).catch(refused);
  }
  await untilGone(qmp, firsts);
}

function slotAt(all: readonly Slot[], first: number): Slot {
  let next = 0;
  for (const slot of all) {
    if (next === first) return slot;
    next += slot.count;
  }
  throw new VirtError('request.unsupported', {
    wanted: `plug virtual CPU ${first}`,
    reason: 'this machine type has no place of its own for it',
  });
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

async function untilGone(qmp: QmpClient, firsts: readonly number[]): Promise<void> {
  const deadline = performance.now() + UNPLUG_MS;
  const isThere = async () => {
    const all = await slots(qmp);
    return firsts.some((first) => slotAt(all, first).path !== undefined);
  };
  while ((await isThere()) && performance.now() < deadline) await sleep(LOOK_AGAIN_MS);
}
