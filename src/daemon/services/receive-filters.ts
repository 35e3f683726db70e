/** What network cards of trusted guests want to receive: their macvtaps follow. */
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
  if (domain.live?.guest !== guest) return;
  const nic = guest.definition.devices.interfaces.find((one) => one.alias === alias);
  const device = nic && trustedDevice(nic);
  if (device === undefined) return;
  try {
    const filter = await guest.receiveFilter(alias);
    if (filter) world.links.setReceiveFilter(device, filter);
  } catch (error) {
    world.log.warn(
      { domain: domain.name, interface: alias, reason: reasonOf(error) },
      'the host could not follow what a network card wants to receive',
    );
  }
}

/** The same for all cards of a guest, when a daemon begins to listen to it. */
export async function followReceiveFilters(
  world: DomainWorld,
  domain: Domain,
  guest: LiveGuest,
): Promise<void> {
  for (const nic of guest.definition.devices.interfaces)
    if (trustedDevice(nic) !== undefined && nic.alias !== undefined)
      await followReceiveFilter(world, domain, guest, nic.alias);
}
