/** What a macvtap receives: the addresses that its guest's driver asked for, where the guest is trusted with that. */
import { readFileSync } from 'node:fs';
import type { ReceiveFilter } from './requests.ts';
import { changeGroup, changeLink, linkByName } from './rtnetlink.ts';

/** Brings the device to the filter. @throws FfiError with the kernel's errno */
export function setReceiveFilter(name: string, filter: ReceiveFilter): void {
  const link = linkByName(name);
  changeLink(link, {
    ...(link.mac !== filter.mac && { mac: filter.mac }),
    isPromiscuous: filter.isPromiscuous,
    isAllMulticast: filter.isAllMulticast,
  });
  const wanted = new Set(filter.multicast);
  const present = groupsOf(readFileSync('/proc/net/dev_mcast', 'latin1'), name);
  for (const mac of wanted) if (!present.has(mac)) changeGroup(link, mac, 'join');
  for (const [mac, isByHand] of present) if (isByHand && !wanted.has(mac)) changeGroup(link, mac, 'leave');
}

/**
 * The groups that a device receives, and whether they were joined as we do it. /proc/net/dev_mcast has a line
 * `INDEX NAME USERS GLOBAL ADDRESS` for each; GLOBAL counts such wishes, those of the kernel's own protocols are in USERS
 * alone (net/core/dev_addr_lists.c).
 */
export function groupsOf(text: string, device: string): Map<string, boolean> {
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  return new Map(
    lines.flatMap(([, name, , global, address]): [string, boolean][] =>
      name === device && address?.length === 12 ? [[address.replace(/..(?=.)/g, '$&:'), global !== '0']] : [],
    ),
  );
}
