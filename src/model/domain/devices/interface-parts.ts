/** Parts of an interface that describe the network around the card: addresses, routes, VLANs, bandwidth, filters. */
import { attr, child, children, type Infer, object } from '../../../base/xml/codec.ts';
import { matching, oneOf, str, uint, uuidText } from '../../../base/xml/scalars.ts';
import { need } from './combinators.ts';

/** An IPv4 or IPv6 address. The exact grammar is checked where it is used; here nothing but its characters pass. */
export const ipAddress = matching(
  /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}|(?=.*:)[0-9A-Fa-f:]{2,39}|[0-9A-Fa-f:]{2,30}:\d{1,3}(\.\d{1,3}){3})$/,
  'an IP address',
);

const family = attr('family', oneOf('ipv4', 'ipv6'));
const prefix = attr('prefix', uint({ max: 128 }));

const ipCodec = object({
  address: need('address', ipAddress),
  family,
  prefix,
  peer: attr('peer', ipAddress),
});
export const ips = children('ip', ipCodec);

const routeCodec = object({
  family,
  address: need('address', ipAddress),
  netmask: attr('netmask', ipAddress),
  prefix,
  gateway: need('gateway', ipAddress),
  metric: attr('metric', uint({ max: 0xffff_ffff })),
});
export const routes = children('route', routeCodec);

const hexUpTo = (max: number) => uint({ max });

/** IEEE 802.1Qbg/Qbh, Open vSwitch and MidoNet. */
const virtualportCodec = object({
  type: attr('type', oneOf('802.1Qbg', '802.1Qbh', 'openvswitch', 'midonet')),
  parameters: child(
    'parameters',
    object({
      managerid: attr('managerid', hexUpTo(0xff)),
      typeid: attr('typeid', hexUpTo(0xff_ffff)),
      typeidversion: attr('typeidversion', hexUpTo(0xff)),
      instanceid: attr('instanceid', uuidText),
      interfaceid: attr('interfaceid', uuidText),
      profileid: attr('profileid', str({ max: 39 })),
    }),
  ),
});
export const virtualport = child('virtualport', virtualportCodec);

const rate = uint({ min: 1, max: 0xffff_ffff });
/** Average, peak and floor in KiB/s, burst in KiB. */
const rates = object({
  average: attr('average', rate),
  peak: attr('peak', rate),
  floor: attr('floor', rate),
  burst: attr('burst', rate),
});
export const bandwidth = child(
  'bandwidth',
  object({
    classId: attr('classID', uint({ min: 1, max: 65_535 })),
    inbound: child('inbound', rates),
    outbound: child('outbound', rates),
  }),
);

export const vlan = child(
  'vlan',
  object({
    trunk: attr('trunk', oneOf('yes')),
    tags: children(
      'tag',
      object({
        id: need('id', uint({ max: 4095 })),
        nativeMode: attr('nativeMode', oneOf('tagged', 'untagged')),
      }),
    ),
  }),
);

export const filterrefCodec = object({
  filter: need('filter', matching(/^[A-Za-z_][\w.-]{0,254}$/, 'the name of a filter')),
  parameters: children(
    'parameter',
    object({
      name: need('name', matching(/^\w{1,256}$/, 'a parameter name')),
      value: need('value', matching(/^[\w.:]{1,1024}$/, 'a parameter value')),
    }),
  ),
});
export type FilterRef = Infer<typeof filterrefCodec>;
export const filterref = child('filterref', filterrefCodec);
