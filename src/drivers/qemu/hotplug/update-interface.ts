/** Changes a network card of a running guest: its network, limits, filter, boot order and cable; all of it, or nothing. */
import { VirtError } from '../../../base/errors.ts';
import { Undo } from '../../../base/undo.ts';
import { isSaid } from '../../../model/domain/device-match.ts';
import type { Interface } from '../../../model/domain/devices/interface.ts';
import type { LinkProvider } from '../../driver.ts';
import type { QemuGuest } from '../guest.ts';
import type { StartDeps } from '../starting.ts';
import { changeBoot, requireBoot } from './boot.ts';
import { type DeviceChange, refuseOthers } from './change.ts';
import { fixedWhileRunning } from './fixed.ts';

/** The card's guest, its place there, and who connects it. */
interface Place {
  readonly guest: QemuGuest;
  readonly links: LinkProvider | undefined;
  readonly interfaceIndex: number;
}

/**
 * Changes what the new description says. A step that fails takes the earlier ones back.
 * @throws VirtError definition.unsupported, link.failed, network.*, qmp.*
 */
export async function changeInterface(
  { options }: StartDeps,
  guest: QemuGuest,
  change: DeviceChange,
): Promise<Interface> {
  const before = change.old.device as Interface;
  const wish = change.device as Interface;
  refuseOthers(guest, change, ['link', 'source', 'bandwidth', 'filterref', 'boot']);
  requireBoot(guest, change);
  const interfaceIndex = guest.definition.devices.interfaces.indexOf(before);
  const place: Place = { guest, links: options.links, interfaceIndex };
  await using undo = new Undo(options.logger);
  const connected = await connect(place, before, wish, undo);
  const ordered = await changeBoot(guest, connected, wish);
  if (ordered !== connected)
    undo.add('put back the boot order', () => setBootIndex(guest, before, before.boot?.order));
  const link = wish.link ?? 'up';
  const isMoved = link !== (ordered.link ?? 'up');
  if (isMoved && before.source.type === 'hostdev')
    throw fixedWhileRunning([{ path: 'interface.link', message: 'a device of the host has its own cable' }], {
      wanted: `change an interface of domain '${guest.definition.name}'`,
    });
  if (isMoved) await guest.setLink(before.alias ?? '', link === 'up');
  undo.keep();
  return isMoved ? { ...ordered, link } : ordered;
}

/** No order is -1 (hw/core: bootindex). */
async function setBootIndex(guest: QemuGuest, { alias = '' }: Interface, order = -1): Promise<void> {
  const path = `/machine/peripheral/${alias}`;
  await guest.monitorClient().execute('qom-set', { path, property: 'bootindex', value: order });
}

/** Where the card leads, and by which limits and filter. */
async function connect(place: Place, before: Interface, wish: Interface, undo: Undo): Promise<Interface> {
  let nic = before;
  if (!isSameNetwork(wish.source, before.source)) {
    nic = await moveInterface(place, before, wish.source);
    const there = nic;
    undo.add('move a network card back', async () => {
      await moveInterface(place, there, before.source);
    });
  }
  if (isSame(wish.bandwidth, nic.bandwidth) && isSame(wish.filterref, nic.filterref)) return nic;
  const moved = nic;
  const tuned = await retuneInterface(place, moved, wish);
  undo.add('put back limits and filter of a network card', async () => {
    await retuneInterface(place, tuned, moved);
  });
  return tuned;
}

const isSame = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);

/** Limits and filter become those of the wish; one that it leaves out goes, as with libvirt. */
async function retuneInterface(
  { guest, links, interfaceIndex }: Place,
  before: Interface,
  { bandwidth, filterref }: Interface,
): Promise<Interface> {
  const deviceName = before.target?.dev;
  const { bandwidth: _limits, filterref: _filter, ...rest } = before;
  const definition = { ...rest, ...(bandwidth && { bandwidth }), ...(filterref && { filterref }) };
  if (deviceName === undefined || links?.retune === undefined) {
    const part = isSame(bandwidth, before.bandwidth) ? 'filterref' : 'bandwidth';
    throw new VirtError('definition.unsupported', {
      wanted: `update ${before.alias} of domain '${guest.definition.name}'`,
      reason: `interface.${part}: an interface of type ${before.source.type} has no device on the host for that`,
      hint: 'type network, bridge, direct and ethernet have one',
    });
  }
  await links.retune({
    domainUuid: guest.definition.uuid ?? '',
    domainName: guest.definition.name,
    interfaceIndex,
    definition,
    before,
    deviceName,
  });
  return definition;
}

/** A network that has no bridge of its own runs as what it leads to. */
function isSameNetwork(wish: Interface['source'], actual: Interface['source']): boolean {
  if (wish.type === 'network' && 'network' in actual) return wish.network === actual.network;
  return isSaid(wish, actual);
}

const cannotBecome = (one: Interface['source'], other: Interface['source']): string =>
  `an interface of type ${one.type} cannot become one of type ${other.type} while the guest runs`;

async function moveInterface(
  { guest, links, interfaceIndex }: Place,
  nic: Interface,
  source: Interface['source'],
): Promise<Interface> {
  const deviceName = nic.target?.dev;
  const isBridged = (one: Interface['source']) => one.type === 'network' || one.type === 'bridge';
  if (!isBridged(source) || !isBridged(nic.source) || deviceName === undefined || links?.move === undefined)
    throw fixedWhileRunning([{ path: 'interface.source', message: cannotBecome(nic.source, source) }], {
      wanted: `connect ${nic.alias} of domain '${guest.definition.name}' to something else`,
      hint: 'detach it and attach another',
    });
  const definition = { ...nic, source };
  const actual = await links.move({
    domainUuid: guest.definition.uuid ?? '',
    domainName: guest.definition.name,
    interfaceIndex,
    definition,
    queues: nic.driver?.queues ?? 1,
    deviceName,
  });
  return { ...definition, ...actual };
}
