/** Takes a device out of a running guest: asks the guest, waits for its word, and clears away what was behind it. */
import { isVirtError, reasonOf, VirtError } from '../../../base/errors.ts';
import { patiently } from '../../../base/late-answers.ts';
import {
  addressOf,
  aliasOfDevice,
  allDevices,
  noDevices,
  type OneDevice,
  removeDevice,
  withDevice,
  withDevices,
} from '../../../model/domain/device-list.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { GuestRecord } from '../../driver.ts';
import { buildContext, capabilitiesOf } from '../context.ts';
import type { QemuGuest } from '../guest.ts';
import { endHelper } from '../helpers.ts';
import { removeSocket, type StartDeps } from '../starting.ts';
import { withPresentCpus } from '../tuning/start-cpus.ts';
import { withVolumePathsForDisplay } from '../volume-sources.ts';
import { removeBackends } from './perform.ts';
import { goesSilently, watchForEnd } from './peripherals.ts';
import { requirePluggable } from './refused.ts';
import { FIRST_STAND_IN, type LivePlan, planDevice } from './steps.ts';
import type { UnplugOutcome } from './unplugs.ts';

/**
 * Asks the guest to let go of a device of the running definition, and waits for its word. `pending`: it has not, within
 * the time; when it does, the device is removed all the same. A device that the guest has no say in goes at once.
 * @throws VirtError definition.unsupported, domain.state when something sits on it, operation.failed when the guest
 * refuses, qmp.*
 */
export async function detachDevice(
  deps: StartDeps,
  guest: QemuGuest,
  one: OneDevice,
): Promise<Exclude<UnplugOutcome, 'refused'>> {
  const wanted = `detach <${one.element}> from domain '${guest.definition.name}'`;
  requirePluggable(one, wanted);
  refuseBus(guest, one, wanted);
  const alias = aliasOfDevice(one) ?? '';
  const waiting = guest.unplugs.wait(alias, deps.options.timeouts.unplugMs);
  let isSilent = goesSilently(one);
  try {
    await guest.monitorClient().execute('device_del', { id: alias });
  } catch (error) {
    isSilent ||= isGone(error);
    if (!isGone(error) && !isInWork(error)) {
      waiting.cancel();
      throw error;
    }
  }
  if (isSilent) void watchForEnd(guest, alias);
  const outcome = await waiting.outcome;
  if (outcome !== 'refused') return outcome;
  throw new VirtError('operation.failed', {
    wanted,
    reason: `the guest refused to let go of ${alias}`,
    hint: 'see what inside the guest uses it',
  });
}

/** QEMU has it no more, and has not said so, or not yet. */
function isGone(error: unknown): boolean {
  return isVirtError(error, 'qmp.failed') && error.details?.['class'] === 'DeviceNotFound';
}

/** QEMU 6.0 and later refuse to ask twice while the guest has yet to answer. */
function isInWork(error: unknown): boolean {
  return isVirtError(error, 'qmp.failed') && /already in the process of unplug/.test(error.reason);
}

/** A controller goes when nothing sits on it. */
function refuseBus({ definition }: QemuGuest, { family, device }: OneDevice, wanted: string): void {
  if (family !== 'controllers') return;
  const { type, index = 0 } = device as Devices['controllers'][number];
  const user = allDevices(definition.devices).find((other) => {
    if (other.device === device) return false;
    const address = addressOf(other);
    switch (address?.type) {
      case 'drive':
        return type === 'scsi' && address.controller === index && isScsi(other);
      case 'virtio-serial':
        return type === 'virtio-serial' && address.controller === index;
      case 'usb':
        return type === 'usb' && address.bus === index;
      case 'ccid':
        return type === 'ccid' && address.controller === index;
      default:
        return false;
    }
  });
  if (user === undefined) return;
  throw new VirtError('domain.state', {
    wanted,
    reason: `${aliasOfDevice(user) ?? user.element} is plugged into it`,
    hint: 'detach that first',
  });
}

function isScsi({ family, device }: OneDevice): boolean {
  return (
    (family === 'hostdevs' && (device as Devices['hostdevs'][number]).source.type === 'scsi') ||
    (family === 'disks' && (device as Devices['disks'][number]).target.bus === 'scsi')
  );
}

/**
 * Clears away after a device that the guest has let go of: back ends, link, helper, device of the host; the running
 * definition has it no more. False when the definition has no device of that name. Failures are logged: the device is gone.
 */
export async function finishRemoval(deps: StartDeps, guest: QemuGuest, alias: string): Promise<boolean> {
  if (/^vcpu\d+$/.test(alias))
    guest.setDefinition(await patiently(() => withPresentCpus(guest.definition, guest.monitorClient())));
  const one = findAlias(guest, alias);
  if (one === undefined) return false;
  const { logger } = deps.options;
  const attempt = async (what: string, work: () => void | Promise<void>) => {
    try {
      await work();
    } catch (error) {
      logger.warn({ domain: guest.definition.name, alias, reason: reasonOf(error) }, `${what} failed`);
    }
  };
  await attempt('removing what is behind a device', async () => {
    const plan = await planOf(deps, guest, one);
    // Nobody waits for QEMU here, and what stayed would be in the way of the next of that name.
    await patiently(() =>
      removeBackends(guest.monitorClient(), plan, { alias, sets: guest.sets, log: logger }),
    );
  });
  const { record } = guest;
  // Looked for again: what the guest does with its channels makes new objects of them.
  guest.setDefinition(removeDevice(guest.definition, findAlias(guest, alias) ?? one));
  await clearHost(deps, guest, one, attempt);
  guest.setRecord(recordWithout(record, alias, linkOf(one)));
  return true;
}

/** The device of that name in the running definition as it is now. */
export function findAlias({ definition }: QemuGuest, alias: string): OneDevice | undefined {
  return allDevices(definition.devices).find((candidate) => aliasOfDevice(candidate) === alias);
}

type Attempt = (what: string, work: () => void | Promise<void>) => Promise<void>;

async function clearHost(deps: StartDeps, guest: QemuGuest, one: OneDevice, attempt: Attempt): Promise<void> {
  const { links, hostDevices } = deps.options;
  const { record, definition } = guest;
  const domainUuid = definition.uuid ?? '';
  const alias = aliasOfDevice(one) ?? '';
  const deviceName = linkOf(one);
  if (deviceName !== undefined && Object.values(record.links).includes(deviceName))
    await attempt(`closing link ${deviceName}`, () =>
      links?.close({
        domainUuid,
        deviceName,
        isKept: record.keptLinks?.includes(deviceName) ?? false,
        ...(one.family === 'interfaces' && {
          port: { domainName: definition.name, definition: one.device as Devices['interfaces'][number] },
        }),
      }),
    );
  if (one.family === 'hostdevs')
    await attempt('giving back a device of the host', () =>
      hostDevices?.releaseOne(domainUuid, one.device as Devices['hostdevs'][number]),
    );
  const nic = one.family === 'interfaces' ? (one.device as Devices['interfaces'][number]) : undefined;
  if (nic?.source.type === 'hostdev')
    await attempt('giving back a virtual function', () => hostDevices?.releaseOne(domainUuid, nic));
  for (const helper of record.helpers.filter((candidate) => candidate.alias === alias))
    await attempt(`ending ${helper.kind}`, () => endHelper(helper));
  const socket = record.sockets[alias];
  if (socket !== undefined) await attempt(`removing ${socket}`, () => removeSocket(socket));
}

/** The host's device of an interface, where it was made for this guest. */
function linkOf({ family, device }: OneDevice): string | undefined {
  return family === 'interfaces' ? (device as Devices['interfaces'][number]).target?.dev : undefined;
}

/** How the device is plugged in, which says what is behind it. Nothing is opened. */
export async function planOf(deps: StartDeps, guest: QemuGuest, one: OneDevice): Promise<LivePlan> {
  const { options } = deps;
  // Of a volume only the names of its nodes matter here: where it is now, or whether, does not.
  const [disk] =
    one.family === 'disks'
      ? (await withVolumePathsForDisplay(aloneWith(guest, one), undefined)).devices.disks
      : [];
  return planDevice(guest.definition, disk === undefined ? one : { ...one, device: disk }, {
    capabilities: await capabilitiesOf(options, guest.definition),
    context: buildContext(options, guest.record.directory, 0, guest.record.graphicsPorts),
    firstSet: FIRST_STAND_IN,
  });
}

const aloneWith = ({ definition }: QemuGuest, one: OneDevice): DomainDef =>
  withDevices(definition, withDevice(noDevices(), one));

function recordWithout(record: GuestRecord, alias: string, link: string | undefined): GuestRecord {
  const without = <T>(map: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(map).filter(([key]) => key !== alias));
  const socket = record.sockets[alias];
  return {
    ...record,
    ptys: without(record.ptys),
    sockets: without(record.sockets),
    helpers: record.helpers.filter((helper) => helper.alias !== alias),
    links: Object.fromEntries(Object.entries(record.links).filter(([, name]) => name !== link)),
    ...(record.keptLinks && { keptLinks: record.keptLinks.filter((name) => name !== link) }),
    foreignSockets: record.foreignSockets.filter((path) => path !== socket),
  };
}
