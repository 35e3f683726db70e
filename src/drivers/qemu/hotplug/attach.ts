/** Plugs a device into a running guest: its place, its files, the monitor commands; all taken back when one fails. */
import { statSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { VirtError } from '../../../base/errors.ts';
import { allSettledOrThrow } from '../../../base/settled.ts';
import type { ProcessIdentity } from '../../../base/spawn.ts';
import { Undo } from '../../../base/undo.ts';
import {
  addDevice,
  aliasOfDevice,
  type Device,
  formatDevices,
  noDevices,
  type OneDevice,
  replaceDevice,
  withDevice,
  withDevices,
} from '../../../model/domain/device-list.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { GuestRecord, HelperRecord } from '../../driver.ts';
import type { HelperNeed } from '../argv/types.ts';
import { buildContext, capabilitiesOf } from '../context.ts';
import { DescriptorTable } from '../descriptors.ts';
import { withFunction } from '../functions.ts';
import type { QemuGuest } from '../guest.ts';
import { endHelper, startHelper } from '../helpers.ts';
import { guestVariable } from '../launch.ts';
import { liveDefinition } from '../live-definition.ts';
import { allowLocking } from '../locked-memory.ts';
import { openLog } from '../log-file.ts';
import { diskHeld } from '../monitor.ts';
import { openNeeds } from '../needs.ts';
import { PassedGroups } from '../passed-groups.ts';
import { factsOf } from '../prepare.ts';
import { withMtus } from '../start.ts';
import { noteSocket, type StartDeps, type Starting } from '../starting.ts';
import { withVolumeName } from '../volume-sources.ts';
import { withVsockCid } from '../vsock-cid.ts';
import { pluggableDisk } from './image.ts';
import { performPlan } from './perform.ts';
import { placeDevice } from './place.ts';
import { requirePluggable } from './refused.ts';
import { type LivePlan, planDevice } from './steps.ts';

export interface AttachOptions {
  /** Writes the guest's status: called when the intent is noted, before QEMU is touched, and when the device is there. */
  readonly save: () => Promise<void>;
}

/**
 * Plugs it in; the running definition then has it, with controllers that it needed. The answer is its alias.
 * @throws VirtError definition.unsupported, xml.invalid, domain.*, file.*, link.failed, network.*, host-device.*, qmp.*
 */
export async function attachDevice(
  deps: StartDeps,
  guest: QemuGuest,
  given: OneDevice,
  { save }: AttachOptions,
): Promise<string> {
  const wanted = `attach a <${given.element}> to domain '${guest.definition.name}'`;
  const capabilities = await capabilitiesOf(deps.options, guest.definition);
  const facts = factsOf(deps.options, capabilities, guest.definition);
  await using undo = new Undo(deps.options.logger);
  const wish = await withFunction(
    deps.options,
    guest.definition,
    { ...withoutChoices(given) },
    { wanted, undo },
  );
  const placed = placeDevice(guest.definition, wish, facts, wanted);
  let { after } = placed;
  for (const part of placed.parts) {
    requirePluggable(part, wanted);
    after = await attachPart(deps, guest, { part, after, save, wanted });
  }
  undo.keep();
  const last = placed.parts.at(-1);
  return (last && aliasOfDevice(last)) ?? '';
}

/** Numbers and paths of another run are nobody's wish. */
function withoutChoices(given: OneDevice): OneDevice {
  const device = given.device as Device & { readonly alias?: string; readonly source?: { index?: number } };
  const { alias, ...rest } = device;
  const kept = alias?.startsWith('ua-') ? device : (rest as Device);
  return { ...given, device: kept };
}

interface Part {
  readonly part: OneDevice;
  readonly after: DomainDef;
  readonly save: () => Promise<void>;
  readonly wanted: string;
}

/** One device of its own: a controller on the way, or the device that was meant. */
async function attachPart(deps: StartDeps, guest: QemuGuest, work: Part): Promise<DomainDef> {
  const { options } = deps;
  const { after, wanted } = work;
  await using undo = new Undo(options.logger);
  using passed = PassedGroups.take(aloneIn(work), options.passedFiles, wanted);
  const starting = { ...runningStart(deps, guest, undo), passed };
  const device = await prepared(starting, guest, work, passed);
  const part = { ...work.part, device };
  const alias = aliasOfDevice(part);
  if (alias === undefined) throw new Error(`${wanted}: it has no alias`);
  const complete = withDevices(after, replaceDevice(after.devices, work.part, device));
  const qmp = guest.monitorClient();
  allowLocking(guest.record.pid, complete, wanted);
  const plan = planDevice(complete, part, {
    capabilities: await capabilitiesOf(options, complete),
    context: buildContext(options, guest.record.directory, 0, guest.record.graphicsPorts, passed),
    firstSet: await guest.sets.firstFree(qmp),
  });
  const table = new DescriptorTable();
  try {
    const helpers = await startHelpers(starting, plan, table);
    await openNeeds(starting, plan.alone, plan.command.fds, table);
    const actual = actualDevice(starting, work.part, part, plan);
    guest.setRecord({ ...guest.record, plugging: formatDevices([{ ...part, device: actual }]) });
    undo.add('forget the intent', () => guest.setRecord(withoutIntent(guest.record)));
    await work.save();
    const { ptys } = await performPlan(qmp, plan, table, { alias, sets: guest.sets, undo }).catch(
      async (error: unknown) => {
        throw await diskHeld(options, error, { wanted, definition: plan.alone });
      },
    );
    const record = recordAfter(guest.record, { starting, plan, alias, ptys, helpers });
    const own = withPtys({ ...part, device: actual }, record);
    // One that was added before is in the guest already, whatever becomes of the device behind it.
    guest.setDefinition(addDevice(guest.definition, own));
    guest.setRecord(record);
    undo.keep();
    await allSettledOrThrow([table.close(), work.save()]);
    return withDevices(complete, replaceDevice(complete.devices, part, own.device));
  } catch (error) {
    // What becomes of it, the next daemon finds by the intent.
    if (guest.isLetGo) undo.keep();
    throw error;
  } finally {
    await table.close();
  }
}

/** What a start under way has, of a guest that runs. */
export function runningStart(deps: StartDeps, guest: QemuGuest, undo: Undo): Starting {
  const { record } = guest;
  return {
    deps,
    undo,
    directory: record.directory,
    logPath: record.logPath,
    log: Promise.reject(new Error('the log of a running guest is not opened')).catch(
      () => undefined as unknown as FileHandle,
    ),
    identity: identityOf(record.directory),
    ports: record.graphicsPorts,
    foreignSockets: [],
    logs: [],
    links: {},
    keptLinks: [],
    actual: {},
  };
}

/** The definition with nothing but that device. */
const aloneIn = ({ part, after }: Part): DomainDef => withDevices(after, withDevice(noDevices(), part));

/** What a start does to definitions before options are made of them, for one device. */
async function prepared(
  starting: Starting,
  guest: QemuGuest,
  work: Part,
  passed: PassedGroups,
): Promise<Device> {
  const { part, wanted } = work;
  const { options } = starting.deps;
  const alone = aloneIn(work);
  switch (part.family) {
    case 'disks':
      return pluggableDisk(options, guest, alone, { wanted, passed });
    case 'interfaces':
      return prepareInterface(starting, guest, await withMtus(alone, options.links));
    case 'vsock':
      return withVsockCid(alone).devices.vsock ?? part.device;
    case 'hostdevs':
      return takeHostDevice(starting, guest, alone);
    default:
      return part.device;
  }
}

function first<T>(list: readonly T[]): T {
  const [one] = list;
  if (one === undefined) throw new Error('the device that was prepared is gone');
  return one;
}

/** A card that is a function of the host's is taken from the host; others are plugged in when their files are opened. */
async function prepareInterface(starting: Starting, guest: QemuGuest, alone: DomainDef): Promise<Device> {
  const nic = first(alone.devices.interfaces);
  if (nic.source.type !== 'hostdev') return nic;
  const { hostDevices } = starting.deps.options;
  await takeAlone(starting, guest, alone);
  starting.undo.add('give back a virtual function', () => hostDevices?.releaseOne(alone.uuid ?? '', nic));
  return nic;
}

async function takeAlone(
  starting: Starting,
  guest: QemuGuest,
  alone: DomainDef,
): Promise<DomainDef | undefined> {
  const { uid } = guest.record;
  return starting.deps.options.hostDevices?.take({
    domainUuid: alone.uuid ?? '',
    domainName: alone.name,
    definition: alone,
    ...(uid !== undefined && { uid }),
  });
}

async function takeHostDevice(starting: Starting, guest: QemuGuest, alone: DomainDef): Promise<Device> {
  const { hostDevices } = starting.deps.options;
  const domainUuid = alone.uuid ?? '';
  const taken = await takeAlone(starting, guest, alone);
  const device = taken?.devices.hostdevs[0];
  if (device === undefined)
    throw new VirtError('host-device.not-found', {
      wanted: `give a device of the host to domain '${alone.name}'`,
      reason: 'it is not there',
    });
  starting.undo.add('give back the device of the host', () => hostDevices?.releaseOne(domainUuid, device));
  return device;
}

/** Helpers of a running guest write into its log and run as its user. */
async function startHelpers(
  starting: Starting,
  plan: LivePlan,
  table: DescriptorTable,
): Promise<HelperRecord[]> {
  const helpers: HelperRecord[] = [];
  if (plan.command.helpers.length === 0) return helpers;
  const log = await openLog(starting.logPath);
  try {
    for (const need of plan.command.helpers) helpers.push(await startOne(starting, need, log, table));
    return helpers;
  } finally {
    await log.close();
  }
}

async function startOne(
  starting: Starting,
  need: HelperNeed,
  log: FileHandle,
  table: DescriptorTable,
): Promise<HelperRecord> {
  const helper = await startHelper(need, {
    identity: starting.identity,
    logFd: log.fd,
    onSocket: (path) => noteSocket(starting, path),
    onLog: (path) => void starting.logs.push(path),
    onDescriptor: (target, fd) => table.addFd(target, fd),
    environment: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      LC_ALL: 'C',
      [guestVariable]: starting.directory,
    },
  });
  starting.undo.add(`end ${helper.kind}`, () => endHelper(helper));
  return helper;
}

/** Who a running guest is: its own directory tells (starting.ts, makeOwnFiles). */
function identityOf(directory: string): ProcessIdentity | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const { uid, gid } = statSync(`${directory}/own`);
  return { uid, gid, groups: [] }; // Helpers use no KVM.
}

/** The device as it is connected: its link, and what its network decided; of a disk, the volume that it was given as. */
function actualDevice(starting: Starting, given: OneDevice, part: OneDevice, plan: LivePlan): Device {
  if (part.family === 'disks') return withVolumeName(part.device as Disk, given.device as Disk);
  if (part.family !== 'interfaces') return part.device;
  const [nic] = liveDefinition(plan.alone, {
    ptys: {},
    sockets: {},
    graphicsPorts: [],
    links: starting.links,
    actual: starting.actual,
  }).devices.interfaces;
  return nic ?? part.device;
}

/** Paths of pseudo terminals and sockets, which are known when QEMU has made them. */
function withPtys(part: OneDevice, record: GuestRecord): OneDevice {
  if (part.family !== 'channels' && part.family !== 'serials') return part;
  const { devices } = liveDefinition({ devices: withDevice(noDevices(), part) } as DomainDef, {
    ptys: record.ptys,
    sockets: record.sockets,
    graphicsPorts: [],
    links: {},
  });
  return { ...part, device: first(devices[part.family] as readonly Device[]) };
}

function recordAfter(
  record: GuestRecord,
  made: {
    readonly starting: Starting;
    readonly plan: LivePlan;
    readonly alias: string;
    readonly ptys: Readonly<Record<string, string>>;
    readonly helpers: readonly HelperRecord[];
  },
): GuestRecord {
  const { starting, plan, alias, ptys, helpers } = made;
  const [link] = Object.values(starting.links);
  const ownPtys = Object.entries(ptys).map(([id, path]) => [plan.command.ptys[id] ?? id, path] as const);
  const kept = [...(record.keptLinks ?? []), ...starting.keptLinks];
  return {
    ...withoutIntent(record),
    ptys: { ...record.ptys, ...Object.fromEntries(ownPtys) },
    sockets: { ...record.sockets, ...plan.command.sockets },
    logs: [...record.logs, ...starting.logs],
    helpers: [...record.helpers, ...helpers.map((helper) => ({ ...helper, alias }))],
    // By alias: places change when another is unplugged.
    links: { ...record.links, ...(link !== undefined && { [alias]: link }) },
    ...(kept.length > 0 && { keptLinks: kept }),
    foreignSockets: [...record.foreignSockets, ...starting.foreignSockets],
  };
}

export function withoutIntent({ plugging: _plugging, ...record }: GuestRecord): GuestRecord {
  return record;
}
