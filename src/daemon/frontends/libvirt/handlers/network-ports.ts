/** Ports of networks: the interfaces of running guests on them. They come and go with their guests. */
import { formatXml } from '../../../../base/xml/tree.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { paramType, type TypedParam, type WireNetwork } from '../../../../libvirt/protocol/objects.ts';
import type { Network } from '../../../services/network.ts';
import { networkPortElement } from '../../../services/network-port-document.ts';
import type { NetworkPort } from '../../../services/network-world.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { limitTable, limitWish } from './bandwidth-params.ts';
import { networkOf, networksOf } from './network.ts';
import { readParams } from './params.ts';
import { checkFlags, notValid, wireNetworkOf } from './support.ts';

interface KnownPort {
  readonly uuid: string;
  readonly network: Network;
  readonly port: NetworkPort;
}

export function networkPortHandlers(engine: Engine) {
  const portOf = ({ net, uuid }: { readonly net: WireNetwork; readonly uuid: string }) =>
    find(engine, networkOf(engine, net), uuid);
  return {
    networkListAllPorts: ({ network: net, needResults, flags }, call) => {
      checkFlags(flags, 0, call);
      const network = networkOf(engine, net);
      const found = portsOf(engine, network);
      const ports = found.map(({ uuid }) => ({ net: wireNetworkOf(network), uuid }));
      return { ports: needResults === 0 ? [] : ports, ret: ports.length };
    },
    networkPortLookupByUuid: ({ network: net, uuid }) => {
      const network = networkOf(engine, net);
      find(engine, network, uuid);
      return { port: { net: wireNetworkOf(network), uuid } };
    },
    networkPortGetXmlDesc: ({ port, flags }, call) => {
      checkFlags(flags, 0, call);
      const known = portOf(port);
      return { xml: formatXml(networkPortElement(known.uuid, known.port)) };
    },
    networkPortGetParameters: ({ port, nparams, flags }, call) => {
      checkFlags(flags, 0, call);
      const params = limitsOf(portOf(port).port);
      return nparams === 0 ? { params: [], nparams: params.length } : { params, nparams: params.length };
    },
    networkPortSetParameters: async ({ port: wire, params, flags }, call) => {
      checkFlags(flags, 0, call);
      const { port } = portOf(wire);
      const domain = engine.domains.find({ uuid: port.domain.uuid });
      const wish = limitWish(readParams(params, limitTable), port.definition.bandwidth);
      // A port is of the guest as it runs; what is stored for its next start stays.
      await engine.domains.interfaces.setBandwidth(domain, port.mac, wish, { live: true });
    },
    networkPortCreateXml: ({ network }) => {
      networkOf(engine, network);
      return refused();
    },
    networkPortDelete: ({ port }) => {
      portOf(port);
      return refused();
    },
  } satisfies RemoteHandlers;
}

/** A port without its guest, or a guest without its port, is nothing that anybody could use. */
function refused(): never {
  throw new LibvirtError(
    errorNumber.operationUnsupported,
    'ports come and go with the guests that they belong to',
    errorDomain.network,
  );
}

/** @throws LibvirtError for a network that is not active */
function portsOf(engine: Engine, network: Network): KnownPort[] {
  if (!network.isActive) throw notValid(`network '${network.name}' is not active`, errorDomain.network);
  return networksOf(engine)
    .ports(network)
    .flatMap((port) => {
      const { source } = port.definition;
      const uuid = 'portid' in source ? source.portid : undefined;
      return uuid === undefined ? [] : [{ uuid, network, port }];
    });
}

/** @throws LibvirtError no network port */
function find(engine: Engine, network: Network, uuid: string): KnownPort {
  const found = portsOf(engine, network).find((known) => known.uuid === uuid);
  if (found !== undefined) return found;
  throw new LibvirtError(
    errorNumber.noNetworkPort,
    `Network port with UUID ${uuid} does not exist`,
    errorDomain.network,
  );
}

/** What of a limit is told, in KiB/s and KiB (virNetworkPortParameters: VIR_NETWORK_PORT_BANDWIDTH_*). */
function limitsOf({ definition }: NetworkPort): TypedParam[] {
  return (['inbound', 'outbound'] as const).flatMap((direction) => {
    const rates = definition.bandwidth?.[direction];
    return (['average', 'peak', 'burst'] as const).flatMap((name) => {
      const value = rates?.[name];
      if (value === undefined) return [];
      return [{ field: `${direction}.${name}`, value: { type: paramType.uint, value } }];
    });
  });
}
