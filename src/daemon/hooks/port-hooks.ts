/** The moments at which guests are plugged into networks, and out (libvirt's hooks.html, /etc/libvirt/hooks/network). */
import { parseXml } from '../../base/xml/parse.ts';
import { formatXml, type XmlElement, xmlElement } from '../../base/xml/tree.ts';
import { formatNetwork, type NetworkDef } from '../../model/network/network.ts';
import type { HookCall, Hooks } from './hooks.ts';

function callOf(moment: 'port-created' | 'port-deleted', network: NetworkDef, port: XmlElement): HookCall {
  return {
    kind: 'network',
    object: network.name,
    operation: moment,
    subOperation: 'begin',
    input: () => formatXml(xmlElement('hookData', [], [parseXml(formatNetwork(network, {})), port])),
  };
}

/** @throws VirtError hook.refused: the guest is not connected then */
export async function askPortCreated(
  hooks: Hooks | undefined,
  network: NetworkDef,
  port: XmlElement,
): Promise<void> {
  await hooks?.ask(callOf('port-created', network, port));
}

export async function tellPortDeleted(
  hooks: Hooks | undefined,
  network: NetworkDef,
  port: XmlElement,
): Promise<void> {
  await hooks?.tell(callOf('port-deleted', network, port));
}
