/** What network cards want to receive, and under which address: macvtaps of trusted guests follow, clients are told. */
import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf } from '../../base/errors.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { Domain } from './domain.ts';
import type { DomainWorld } from './world.ts';

/** The macvtap of an interface whose guest may say what it receives. */
function trustedDevice({ source, trustGuestRxFilters, target }: Interface): string | undefined {
  return source.type === 'direct' && trustGuestRxFilters === true ? target?.dev : undefined;
}

/**
 * A guest that changes its mind without end makes us look this often at most, in milliseconds: QEMU says so once, and
 * again only after it was asked (qapi/net.json, NIC_RX_FILTER_CHANGED).
 */
const CALM_MS = 50;

/** A guest's driver changed what the card of that alias receives. Nobody waits for this, so a failure goes to the log. */
export async function followReceiveFilter(
  world: DomainWorld,
  domain: Domain,
  guest: LiveGuest,
  alias: string,
): Promise<void> {
  await sleep(CALM_MS);
  const { live } = domain;
  const nic = guest.definition.devices.interfaces.find((one) => one.alias === alias);
  if (live?.guest !== guest || nic === undefined) return;
  try {
    const filter = await guest.receiveFilter(alias);
    if (filter === undefined) return;
    tellMac(world, domain, { nic, alias, mac: filter.mac });
    const device = trustedDevice(nic);
    if (device !== undefined) world.links.setReceiveFilter(device, filter);
  } catch (error) {
    world.log.warn(
      { domain: domain.name, interface: alias, reason: reasonOf(error) },
      'the host could not follow what a network card wants to receive',
    );
  }
}

/** Says that a guest gave its card another address than it had before. */
function tellMac(
  { events }: DomainWorld,
  domain: Domain,
  { nic, alias, mac }: { readonly nic: Interface; readonly alias: string; readonly mac: string },
): void {
  const given = nic.mac?.address.toLowerCase() ?? mac;
  const ownMacs = domain.live?.ownMacs;
  const previousMac = ownMacs?.get(alias) ?? given;
  if (mac === previousMac) return;
  if (mac === given) ownMacs?.delete(alias);
  else ownMacs?.set(alias, mac);
  events.emit('domain.mac-changed', domain.identity, { alias, previousMac, mac });
}

/**
 * The same for cards of a guest, when a daemon begins to listen to it: those of trusted guests, and of a guest that ran
 * before (`isFound`) all that tell their filter, since QEMU says nothing more until it is asked.
 */
export async function followReceiveFilters(
  world: DomainWorld,
  domain: Domain,
  guest: LiveGuest,
  { isFound }: { readonly isFound: boolean },
): Promise<void> {
  for (const nic of guest.definition.devices.interfaces) {
    const isTelling = isFound && nic.model?.startsWith('virtio') === true;
    if (nic.alias !== undefined && (isTelling || trustedDevice(nic) !== undefined))
      await followReceiveFilter(world, domain, guest, nic.alias);
  }
}
