/** The moments in a network's life at which the scripts named `network` run (libvirt's hooks.html, /etc/libvirt/hooks/network). */

import { parseXml } from '../../base/xml/parse.ts';
import { formatXml, xmlElement } from '../../base/xml/tree.ts';
import { formatNetwork, type NetworkDef } from '../../model/network/network.ts';
import type { HookCall, Hooks } from './hooks.ts';

const moments = { start: 'begin', started: 'begin', stopped: 'end', updated: 'begin' } as const;

export type NetworkMoment = keyof typeof moments;

function callOf(moment: NetworkMoment, definition: NetworkDef): HookCall {
  return {
    kind: 'network',
    object: definition.name,
    operation: moment,
    subOperation: moments[moment],
    input: () => hookData(formatNetwork(definition, {})),
  };
}

/** Network scripts get their documents inside one element, since there may be several. */
function hookData(xml: string): string {
  return formatXml(xmlElement('hookData', [], [parseXml(xml)]));
}

/** `start` and `started` can be refused. @throws VirtError hook.refused */
export async function askNetworkHooks(
  hooks: Hooks | undefined,
  moment: 'start' | 'started',
  definition: NetworkDef,
): Promise<void> {
  await hooks?.ask(callOf(moment, definition));
}

export async function tellNetworkHooks(
  hooks: Hooks | undefined,
  moment: 'stopped' | 'updated',
  definition: NetworkDef,
): Promise<void> {
  await hooks?.tell(callOf(moment, definition));
}
