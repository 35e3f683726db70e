/** `<domain>` and `<dns>`: the names that guests have, and who answers for them. */
import { attr, BadValue, child, children, type Infer, object, type Scalar } from '../../base/xml/codec.ts';
import { matching, oneOf, str, uint, yesNo } from '../../base/xml/scalars.ts';
import { need, textOnly } from '../domain/devices/combinators.ts';
import { dnsName, ipAddress, serviceName } from './names.ts';

export const domain = child(
  'domain',
  object({
    name: need('name', dnsName),
    /** Names of this domain are never asked of the host's servers. */
    localOnly: attr('localOnly', yesNo),
    /** The host's resolver is told to ask here for names of this domain. */
    register: attr('register', yesNo),
  }),
);

/** One string of a TXT record: at most 255 bytes (RFC 1035, 3.3.14). */
const txtValue: Scalar<string> = {
  parse(text) {
    const value = str({ max: 255 }).parse(text);
    if (Buffer.byteLength(value, 'utf8') > 255) throw new BadValue('is longer than 255 bytes');
    return value;
  },
  format: (value) => value,
};

const number16 = uint({ max: 65_535 });
/** The target of a service that is not offered is a lone dot (RFC 2782). */
const target: Scalar<string> = {
  parse: (text) => (text === '.' ? text : dnsName.parse(text)),
  format: (value) => value,
};

/** A label may begin with an underscore (RFC 8552). */
const txtName = matching(
  /^_?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\._?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,30}$/,
  'a DNS name',
);

const forwarderCodec = object({ domain: attr('domain', dnsName), addr: attr('addr', ipAddress) });
const txtCodec = object({
  name: need('name', txtName),
  value: need('value', txtValue),
});
const srvCodec = object({
  service: need('service', serviceName),
  protocol: need('protocol', oneOf('tcp', 'udp')),
  domain: attr('domain', dnsName),
  target: attr('target', target),
  port: attr('port', uint({ min: 1, max: 65_535 })),
  priority: attr('priority', number16),
  weight: attr('weight', number16),
});
const hostCodec = object({
  ip: need('ip', ipAddress),
  names: children('hostname', textOnly(dnsName), 64),
});

export const dnsCodecs = { txt: txtCodec, srv: srvCodec, host: hostCodec } as const;

/** As much of a record as is needed to tell which one is to be deleted. */
export const dnsMatchers = {
  txt: object({ name: attr('name', txtName), value: attr('value', txtValue) }),
  srv: object({
    service: attr('service', serviceName),
    protocol: attr('protocol', oneOf('tcp', 'udp')),
    domain: attr('domain', dnsName),
    target: attr('target', target),
    port: attr('port', number16),
    priority: attr('priority', number16),
    weight: attr('weight', number16),
  }),
  host: object({ ip: attr('ip', ipAddress), names: children('hostname', textOnly(dnsName), 64) }),
} as const;
export type DnsTxt = Infer<typeof txtCodec>;
export type DnsSrv = Infer<typeof srvCodec>;
export type DnsHost = Infer<typeof hostCodec>;

const dnsCodec = object({
  enable: attr('enable', yesNo),
  forwardPlainNames: attr('forwardPlainNames', yesNo),
  forwarders: children('forwarder', forwarderCodec, 64),
  txt: children('txt', txtCodec),
  srv: children('srv', srvCodec),
  hosts: children('host', hostCodec),
});
export type Dns = Infer<typeof dnsCodec>;
export const dns = child('dns', dnsCodec);
