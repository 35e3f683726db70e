/** The host's links for guests on a real kernel: taps, macvtaps, their limits and counters. */
import { isVirtError, VirtError } from '../../base/errors.ts';
import { close } from '../../base/ffi.ts';
import { isGone } from '../../base/netlink.ts';
import type { BandwidthPlan, Tap, TapRequest } from '../plan.ts';
import { linkDetails, swapped } from './link-details.ts';
import { linkError } from './link-error.ts';
import { countUsers, openMacvtap, sweepMacvtaps } from './macvtap.ts';
import { setReceiveFilter } from './receive-filter.ts';
import type {
  ExistingLinkRequest,
  LinkHost,
  LinkStatistics,
  LooseTapRequest,
  MacvtapRequest,
  PortSettings,
  ReceiveFilter,
} from './requests.ts';
import { linkByName } from './rtnetlink.ts';
import { attachTap, deleteTap, openExisting, openLooseTap, openTap } from './tap.ts';
import { limitLink, unlimitLink } from './traffic-control.ts';

export class LinuxLinks implements LinkHost {
  async openTap(request: TapRequest): Promise<Tap> {
    return limited(openTap(request), request.bandwidth);
  }

  async openLooseTap(request: LooseTapRequest): Promise<Tap> {
    return limited(openLooseTap(request), request.bandwidth);
  }

  async openMacvtap(request: MacvtapRequest): Promise<Tap> {
    const tap = await openMacvtap(request);
    try {
      return await limited(tap, request.bandwidth);
    } catch (error) {
      await deleteTap(tap.name); // It does not go with its descriptors.
      throw error;
    }
  }

  async openExisting(request: ExistingLinkRequest): Promise<Tap> {
    return limited(await openExisting(request), request.bandwidth);
  }

  async attachTap(name: string, bridge: string, port?: PortSettings): Promise<void> {
    attachTap(name, bridge, port);
  }

  async deleteTap(name: string): Promise<void> {
    await deleteTap(name);
  }

  usersOf(lower: string): number {
    try {
      return countUsers(linkByName(lower));
    } catch (error) {
      throw linkError(error, `look at interface ${lower}`);
    }
  }

  async setBandwidth(name: string, plan: BandwidthPlan | undefined): Promise<void> {
    const { kind } = details(name);
    await unlimitLink(name);
    if (plan) await limitLink(name, plan, kind === 'macvtap');
  }

  statistics(name: string): LinkStatistics {
    const { kind, counters } = details(name);
    // A macvtap looks the guest's way already; a tap is the other end of the guest's cable.
    return kind === 'macvtap' ? counters : swapped(counters);
  }

  setReceiveFilter(name: string, filter: ReceiveFilter): void {
    try {
      setReceiveFilter(name, filter);
    } catch (error) {
      throw linkError(error, `set what ${name} receives`);
    }
  }

  async sweep(owner: string, kept: ReadonlySet<string>): Promise<string[]> {
    return sweepMacvtaps(owner, kept);
  }
}

function details(name: string) {
  try {
    return linkDetails(name);
  } catch (error) {
    if (!isGone(error)) throw linkError(error, `look at interface ${name}`);
    throw new VirtError('domain.no-device', {
      wanted: `look at interface ${name}`,
      reason: 'the host has no interface of that name',
      cause: error,
    });
  }
}

/** The tap with its limits; a tap that cannot have them is closed, and so gone. */
async function limited(tap: Tap, plan: BandwidthPlan | undefined): Promise<Tap> {
  if (plan === undefined) return tap;
  try {
    await limitLink(tap.name, plan, linkByName(tap.name).kind === 'macvtap');
    return tap;
  } catch (error) {
    for (const fd of [...tap.fds, ...tap.vhostFds]) close(fd);
    throw isVirtError(error) ? error : linkError(error, `limit ${tap.name}`);
  }
}
