/** Scalars of networks: interface and DNS names, addresses, files. What they let through is safe in any file below. */
import { formatIp, parseIp } from '../../base/ip.ts';
import { BadValue, type Scalar } from '../../base/xml/codec.ts';
import { mac, matching } from '../../base/xml/scalars.ts';
import { nameProblem } from '../domain/names.ts';

/** A network's name: the rules of domain names, since it becomes a part of file names in the same way. */
export const networkName: Scalar<string> = {
  parse(text) {
    const problem = nameProblem(text);
    if (problem !== undefined) throw new BadValue(problem);
    return text;
  },
  format: (value) => value,
};

/** A network interface of the host: IFNAMSIZ is 16 with the final zero (linux/if.h). */
export const linkName: Scalar<string> = {
  parse(text) {
    if (!/^[A-Za-z0-9_.-]{1,15}$/.test(text) || text === '.' || text === '..')
      throw new BadValue(
        `'${text.slice(0, 40)}' is not the name of a network interface (1 to 15 of A-Z a-z 0-9 _ . -)`,
      );
    return text;
  },
  format: (value) => value,
};

/** A firewalld zone (firewalld.zone(5): at most 17 characters). */
export const zoneName = matching(/^[A-Za-z0-9_/-]{1,17}$/, 'the name of a firewalld zone');

const label = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

/** True for labels of RFC 1123, 2.1, divided by dots, of at most 253 characters in all. */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && text.split('.').every((part) => label.test(part));
}

/** A host or domain name; a dot at its end is left out. */
export const dnsName: Scalar<string> = {
  parse(text) {
    const bare = text.endsWith('.') ? text.slice(0, -1) : text;
    if (!isDnsName(bare)) throw new BadValue(`'${text.slice(0, 80)}' is not a DNS name (RFC 1123)`);
    return bare;
  },
  format: (value) => value,
};

/** A service of an SRV record (RFC 6335, 5.1), with or without its underscore. */
export const serviceName = matching(
  /^_?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/,
  'the name of a service',
);

/** An address, in canonical text. */
export const ipAddress: Scalar<string> = {
  parse(text) {
    const address = parseIp(text);
    if (address === undefined) throw new BadValue(`'${text.slice(0, 60)}' is not an IP address`);
    return formatIp(address);
  },
  format: (value) => value,
};

export const ipv4Address: Scalar<string> = {
  parse(text) {
    if (text.includes(':')) throw new BadValue(`'${text.slice(0, 60)}' is not an IPv4 address`);
    return ipAddress.parse(text);
  },
  format: (value) => value,
};

/** The address of one card: not a group address, and not all zeros. */
export const cardAddress: Scalar<string> = {
  parse(text) {
    const address = mac.parse(text);
    if (Number.parseInt(address.slice(0, 2), 16) & 1) throw new BadValue(`${address} is a multicast address`);
    if (address === '00:00:00:00:00:00') throw new BadValue(`${address} is the address of no card`);
    return address;
  },
  format: mac.format,
};

/** A DHCPv6 unique identifier: hexadecimal bytes with colons, 2 of type and 1 to 128 more (RFC 8415, 11.1). */
export const duid = matching(/^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){2,129}$/, 'a DHCPv6 unique identifier');

/** What a guest's firmware asks the boot server for; a comma or a quote would be another option of dnsmasq. */
export const bootFile = matching(/^[A-Za-z0-9_.+/%:-]{1,127}$/, 'a boot file name');
