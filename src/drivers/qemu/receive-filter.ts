/** What a guest's driver wants its card to receive, as QEMU tells it (qapi/net.json, RxFilterInfo). */
import type * as z from 'zod';
import type { ReceiveFilter } from '../driver.ts';
import type { rxFilter } from './qmp/replies.ts';

/** More groups than this and the card might as well receive all of them; QEMU's own table ends at 64. */
const MAX_GROUPS = 64;

export function receiveFilterOf(answer: z.output<typeof rxFilter>): ReceiveFilter {
  const groups = answer['multicast-table'].map((mac) => mac.toLowerCase()).filter(isGroup);
  const isTooMany = answer['multicast-overflow'] || groups.length > MAX_GROUPS;
  return {
    mac: answer['main-mac'].toLowerCase(),
    multicast: answer.multicast === 'normal' ? groups.slice(0, MAX_GROUPS) : [],
    isAllMulticast: answer.multicast === 'all' || isTooMany,
    // More unicast addresses than one need a device that receives all: the host's filters go by the one.
    isPromiscuous: answer.promiscuous || answer['unicast-overflow'] || answer['unicast-table'].length > 0,
  };
}

function isGroup(mac: string): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
}
