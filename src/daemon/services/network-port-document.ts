/** libvirt's document of a port of a network (networkport.rng): an interface of a running guest on it. */
import type { XmlElement } from '../../base/xml/tree.ts';
import { element, textElement } from '../../model/capabilities/parts.ts';
import type { NetworkPort } from './network-world.ts';

export function networkPortElement(
  uuid: string,
  { domain, mac, definition: { source } }: Pick<NetworkPort, 'domain' | 'mac' | 'definition'>,
): XmlElement {
  const group = 'portgroup' in source ? source.portgroup : undefined;
  const plug =
    source.type === 'direct'
      ? element('plug', { type: 'direct', dev: source.dev, mode: source.mode })
      : element('plug', { type: 'network', bridge: 'bridge' in source ? source.bridge : undefined });
  return element('networkport', {}, [
    textElement('uuid', uuid),
    element('owner', {}, [textElement('uuid', domain.uuid), textElement('name', domain.name)]),
    ...(group === undefined ? [] : [textElement('group', group)]),
    element('mac', { address: mac }),
    plug,
  ]);
}
