/** `<forward>`: how packets leave the network; and `<bridge>`, which they cross. */
import {
  attr,
  child,
  childAttr,
  children,
  custom,
  type Field,
  type Infer,
  object,
} from '../../base/xml/codec.ts';
import { oneOf, onOff, uint, yesNo } from '../../base/xml/scalars.ts';
import { plainPci } from '../domain/devices/address.ts';
import { fixed, need } from '../domain/devices/combinators.ts';
import { ipv4Address, linkName, zoneName } from './names.ts';

const port = uint({ min: 1, max: 65_535 });

/** Numbers of use that only a running network has: read past. */
const connections: Field<undefined> = custom(
  (reader) => {
    attr('connections', uint()).read(reader);
    return undefined;
  },
  () => undefined,
);

const nat = object({
  ipv6: attr('ipv6', yesNo),
  address: child('address', object({ start: need('start', ipv4Address), end: need('end', ipv4Address) })),
  port: child('port', object({ start: need('start', port), end: need('end', port) })),
});

export const forwardInterfaceCodec = object({ dev: need('dev', linkName), connections });

const forwardCodec = object({
  /** The interface traffic leaves by; the same as the first of `interfaces`. */
  dev: attr('dev', linkName),
  mode: attr('mode', oneOf('nat', 'route', 'open', 'bridge', 'private', 'vepa', 'passthrough', 'hostdev')),
  managed: attr('managed', yesNo),
  driver: childAttr('driver', 'name', oneOf('kvm', 'vfio')),
  nat: child('nat', nat),
  physical: child('pf', object({ dev: need('dev', linkName), connections })),
  interfaces: children('interface', forwardInterfaceCodec),
  addresses: children('address', object({ type: fixed('type', 'pci'), ...plainPci, connections })),
});
export type Forward = Infer<typeof forwardCodec>;
export const forward = child('forward', forwardCodec);

/** How a network is connected; `none` has no `<forward>` at all. */
export type ForwardMode = NonNullable<Forward['mode']> | 'none';

const bridgeCodec = object({
  name: attr('name', linkName),
  zone: attr('zone', zoneName),
  stp: attr('stp', onOff),
  /** Forward delay in seconds. */
  delay: attr('delay', uint({ max: 30 })),
  macTableManager: attr('macTableManager', oneOf('kernel', 'libvirt')),
});
export const bridge = child('bridge', bridgeCodec);
export { connections };
