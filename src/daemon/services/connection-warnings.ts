/** What a definition names of networks that is not there now: it may be by the time the domain starts. */
import type { DomainDef } from '../../model/domain/domain.ts';
import { portgroupOf } from '../../model/network/connection.ts';
import type { NetworkService } from './network-service.ts';

/** One sentence for each interface whose network or port group nobody knows. */
export function connectionWarnings(definition: DomainDef, networks: NetworkService): string[] {
  return definition.devices.interfaces.flatMap(({ source }, index) => {
    if (source.type !== 'network') return [];
    const path = `devices.interface[${index}].source`;
    const network = networks.list().find(({ name }) => name === source.network);
    if (network === undefined) return [`${path}.network: there is no network '${source.network}' yet`];
    if (source.portgroup === undefined) return [];
    const known = portgroupOf(networks.definitions.definition(network), source.portgroup);
    return known === undefined
      ? [`${path}.portgroup: network '${source.network}' has no port group '${source.portgroup}' yet`]
      : [];
  });
}
