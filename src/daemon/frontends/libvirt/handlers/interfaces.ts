/** The host's network interfaces, to look at: whoever set them up changes them, so the calls that would are not here. */
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { HostInterface } from '../../../../net/links/host-interfaces.ts';
import { hostInterfaceXml } from '../../../services/host-interface-documents.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { atMost, checkFlags } from './support.ts';

/** virConnectListAllInterfacesFlags. */
const filter = { inactive: 1, active: 2 } as const;

/** virInterfaceXMLFlags. There is no stored definition beside what is, so both are the same. */
const XML_INACTIVE = 1;

/** What the kernel has for an interface without one; programs make object paths of it (libvirt-dbus), so it is never empty. */
const NO_MAC = '00:00:00:00:00:00';

const wireInterfaceOf = ({ name, mac }: HostInterface) => ({ name, mac: mac ?? NO_MAC });

/** @throws LibvirtError no interface */
function interfaceNamed(all: readonly HostInterface[], name: string): HostInterface {
  const found = all.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new LibvirtError(
    errorNumber.noInterface,
    `couldn't find interface named '${name}'`,
    errorDomain.interface,
  );
}

/** @throws LibvirtError no interface, multiple interfaces: a bridge often has the address of a port */
function interfaceWithMac(all: readonly HostInterface[], mac: string): HostInterface {
  const [found, second] = all.filter((one) => (one.mac ?? NO_MAC) === mac.toLowerCase());
  if (found === undefined)
    throw new LibvirtError(
      errorNumber.noInterface,
      `couldn't find interface with MAC address '${mac}'`,
      errorDomain.interface,
    );
  if (second === undefined) return found;
  throw new LibvirtError(
    errorNumber.multipleInterfaces,
    `'${found.name}' and '${second.name}' have the MAC address '${mac}'`,
    errorDomain.interface,
  );
}

export function interfaceHandlers(engine: Engine) {
  return { ...lists(engine), ...lookups(engine) } satisfies RemoteHandlers;
}

/** Active is what somebody has set up, with or without a link. */
function lists(engine: Engine) {
  const names = (isUp: boolean) =>
    engine
      .interfaces()
      .filter((one) => one.isUp === isUp)
      .map(({ name }) => name);
  return {
    connectNumOfInterfaces: () => ({ num: names(true).length }),
    connectListInterfaces: ({ maxnames }) => ({ names: atMost(names(true), maxnames) }),
    connectNumOfDefinedInterfaces: () => ({ num: names(false).length }),
    connectListDefinedInterfaces: ({ maxnames }) => ({ names: atMost(names(false), maxnames) }),
    connectListAllInterfaces: ({ needResults, flags }, call) => {
      const both = filter.active | filter.inactive;
      checkFlags(flags, both, call);
      const found = engine
        .interfaces()
        .filter(({ isUp }) => flags === 0 || (flags & (isUp ? filter.active : filter.inactive)) !== 0);
      return { ifaces: needResults === 0 ? [] : found.map(wireInterfaceOf), ret: found.length };
    },
  } satisfies RemoteHandlers;
}

function lookups(engine: Engine) {
  return {
    interfaceLookupByName: ({ name }) => ({
      iface: wireInterfaceOf(interfaceNamed(engine.interfaces(), name)),
    }),
    interfaceLookupByMacString: ({ mac }) => ({
      iface: wireInterfaceOf(interfaceWithMac(engine.interfaces(), mac)),
    }),
    interfaceGetXmlDesc: ({ iface, flags }, call) => {
      checkFlags(flags, XML_INACTIVE, call);
      const all = engine.interfaces();
      return { xml: hostInterfaceXml(interfaceNamed(all, iface.name).name, all) };
    },
    interfaceIsActive: ({ iface }) => ({
      active: interfaceNamed(engine.interfaces(), iface.name).isUp ? 1 : 0,
    }),
  } satisfies RemoteHandlers;
}
