/** What a network definition must not say: everything hostile, absurd or contradictory is named with its path. */
import { describe, expect, it } from 'vitest';
import type { Problem } from '../../../src/base/errors.ts';
import { isVirtError } from '../../../src/base/errors.ts';
import { applyNetworkDefaults } from '../../../src/model/network/defaults.ts';
import { parseNetwork } from '../../../src/model/network/network.ts';
import { validateNetwork } from '../../../src/model/network/validate/validate.ts';

const facts = {
  newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8',
  newMac: () => '52:54:00:00:00:01',
  freeBridgeName: () => 'virbr9',
};

/** Everything wrong with a document, found while reading or after. */
function problemsOf(body: string, name = 'n'): readonly Problem[] {
  try {
    const { definition } = parseNetwork(`<network><name>${name}</name>${body}</network>`, { mode: 'strict' });
    return validateNetwork(applyNetworkDefaults(definition, facts));
  } catch (error) {
    if (!isVirtError(error)) throw error;
    return (
      (error.details?.['problems'] as readonly Problem[] | undefined) ?? [{ path: '', message: error.code }]
    );
  }
}

const ip = (inner = '', attributes = "address='192.168.122.1' netmask='255.255.255.0'") =>
  `<ip ${attributes}>${inner}</ip>`;
const nat = (inner = '') => `<forward mode='nat'/>${ip(inner)}`;
const dhcp = (inner: string) => nat(`<dhcp>${inner}</dhcp>`);

describe('a network definition', () => {
  it('that is plain has no problem', () => {
    expect(problemsOf(dhcp("<range start='192.168.122.2' end='192.168.122.254'/>"))).toEqual([]);
  });

  // docs/security.md, class G: in XML `&#10;` in an attribute is a new line, and so would it be in dnsmasq's configuration.
  const hostile = [
    'a&#10;dhcp-script=/bin/sh',
    'a&#13;b',
    'a&#0;',
    'a&#x85;b',
    'a&#x2028;b',
    'a&#127;',
    'a;b',
    '$(id)',
    'a`b',
    "a'b",
  ];
  const places: readonly (readonly [string, (text: string) => string])[] = [
    ['a DNS domain', (text) => `<domain name="${text}"/>${nat()}`],
    ['a host name of DHCP', (text) => dhcp(`<host mac='52:54:00:1:2:3' name="${text}" ip='192.168.122.5'/>`)],
    [
      'a host name of DNS',
      (text) => `<dns><host ip='192.168.122.5'><hostname>${text}</hostname></host></dns>${nat()}`,
    ],
    ['a forwarder', (text) => `<dns><forwarder domain="${text}"/></dns>${nat()}`],
    ['a TXT name', (text) => `<dns><txt name="${text}" value='v'/></dns>${nat()}`],
    ['a service', (text) => `<dns><srv service="${text}" protocol='tcp'/></dns>${nat()}`],
    ['a target', (text) => `<dns><srv service='s' protocol='tcp' target="${text}" port='1'/></dns>${nat()}`],
    ['a boot file', (text) => dhcp(`<bootp file="${text}"/>`)],
    ['a boot server', (text) => dhcp(`<bootp file='f' server="${text}"/>`)],
    ['a bridge', (text) => `<bridge name="${text}"/>${nat()}`],
    ['a zone', (text) => `<bridge zone="${text}"/>${nat()}`],
    ['an interface to forward to', (text) => `<forward mode='nat' dev="${text}"/>${ip()}`],
    ['an address', (text) => `<forward mode='nat'/>${ip('', `address="${text}"`)}`],
    [
      'a DUID',
      (text) => ip(`<dhcp><host id="${text}" ip='fd00::5'/></dhcp>`, "address='fd00::1' prefix='64'"),
    ],
  ];
  describe.each(places)('with %s', (_what, document) => {
    it.each([...hostile, 'a,b', 'a b', 'a\\b', '../../etc/passwd', '-a', 'x'.repeat(300)])(
      '%j is refused',
      (text) => {
        // A boot file may lie in another directory; it is fetched by TFTP, never opened here.
        if (_what === 'a boot file' && (text.startsWith('..') || text === '-a')) return;
        if (/bridge|interface/.test(_what) && text === '-a') return;
        if (_what === 'a zone' && text === '-a') return;
        expect(problemsOf(document(text))).not.toEqual([]);
      },
    );
  });

  it.each(hostile.slice(0, 6))('with a TXT value, a name or a TFTP root of %j is refused', (text) => {
    expect(problemsOf(`<dns><txt name='t' value="${text}"/></dns>${nat()}`)).not.toEqual([]);
    expect(problemsOf(nat(`<tftp root="/srv/${text}"/>`))).not.toEqual([]);
    expect(problemsOf(nat(), text)).not.toEqual([]);
  });

  it.each(['', ' ', '.', '..', 'a/b', 'x'.repeat(256)])('named %j is refused', (name) => {
    expect(problemsOf(nat(), name)).not.toEqual([]);
  });

  it.each(['srv', '/srv/../etc', '/srv/tftp/..'])('with a TFTP root of %j is refused', (root) => {
    expect(problemsOf(nat(`<tftp root='${root}'/>`))).not.toEqual([]);
  });

  it.each([
    ['0.0.0.0', '24', 'no address of a host'],
    ['127.0.0.1', '8', 'loopback'],
    ['224.0.0.1', '24', 'multicast'],
    ['255.255.255.255', '24', 'reserved'],
    ['192.168.122.0', '24', 'itself'],
    ['192.168.122.255', '24', 'broadcast'],
    ['10.0.0.1', '4', 'out of range'],
    ['10.0.0.1', '31', 'out of range'],
    ['10.0.0.1', '33', 'out of range'],
    ['::1', '64', 'no address of a network'],
    ['ff02::1', '64', 'multicast'],
    ['::ffff:10.0.0.1', '120', 'IPv4 address in the form'],
    ['fd00::1', '8', 'out of range'],
    ['fd00::', '64', 'itself'],
  ])('with the address %s/%s is refused: %s', (address, prefix, why) => {
    const problems = problemsOf(ip('', `address='${address}' prefix='${prefix}'`));
    expect(problems.map(({ message }) => message).join()).toContain(why);
  });

  it.each([
    ['a netmask with holes', ip('', "address='10.0.0.1' netmask='255.0.255.0'"), 'ip[0].netmask'],
    ['netmask and prefix', ip('', "address='10.0.0.1' netmask='255.0.0.0' prefix='8'"), 'ip[0].prefix'],
    ['the wrong family', ip('', "address='10.0.0.1' prefix='8' family='ipv6'"), 'ip[0].family'],
    ['no address', '<ip/>', 'ip[0].address'],
    ['two that overlap', ip() + ip('', "address='192.168.122.130' prefix='25'"), 'ip[1]'],
    [
      'a range outside',
      dhcp("<range start='192.168.122.2' end='192.168.123.9'/>"),
      'ip[0].dhcp.range[0].end',
    ],
    [
      'a range that is reversed',
      dhcp("<range start='192.168.122.9' end='192.168.122.2'/>"),
      'ip[0].dhcp.range[0].end',
    ],
    [
      'a range with the broadcast address',
      dhcp("<range start='192.168.122.2' end='192.168.122.255'/>"),
      'ip[0].dhcp.range[0].end',
    ],
    [
      'ranges that overlap',
      dhcp(
        "<range start='192.168.122.2' end='192.168.122.9'/><range start='192.168.122.9' end='192.168.122.20'/>",
      ),
      'ip[0].dhcp.range[1]',
    ],
    [
      'a short lease',
      dhcp("<range start='192.168.122.2' end='192.168.122.9'><lease expiry='1'/></range>"),
      'ip[0].dhcp.range[0].lease.expiry',
    ],
    ['a host outside', dhcp("<host mac='52:54:00:1:2:3' ip='10.9.9.9'/>"), 'ip[0].dhcp.host[0].ip'],
    [
      'a host on the gateway',
      dhcp("<host mac='52:54:00:1:2:3' ip='192.168.122.1'/>"),
      'ip[0].dhcp.host[0].ip',
    ],
    ['a host that nothing tells', dhcp("<host ip='192.168.122.9'/>"), 'ip[0].dhcp.host[0]'],
    [
      'a group address as host',
      dhcp("<host mac='01:00:5e:1:2:3' ip='192.168.122.9'/>"),
      'ip[0].dhcp.host[0].mac',
    ],
    [
      'an address given twice',
      dhcp("<host mac='52:54:00:1:2:3' ip='192.168.122.9'/><host mac='52:54:00:1:2:4' ip='192.168.122.9'/>"),
      'ip[0].dhcp.host[1].ip',
    ],
    [
      'a MAC address given twice',
      dhcp(
        "<host mac='52:54:00:01:02:03' ip='192.168.122.8'/><host mac='52:54:0:1:2:3' ip='192.168.122.9'/>",
      ),
      'ip[0].dhcp.host[1].mac',
    ],
    [
      'a name given twice in other letters',
      dhcp(
        "<host mac='52:54:00:1:2:3' name='web' ip='192.168.122.8'/><host mac='52:54:0:1:2:4' name='WEB' ip='192.168.122.9'/>",
      ),
      'ip[0].dhcp.host[1].name',
    ],
    ['two DHCP servers', ip('<dhcp/>') + ip('<dhcp/>', "address='10.5.5.1' prefix='24'"), 'ip[1].dhcp'],
    [
      'a route whose gateway is elsewhere',
      `${nat()}<route address='10.0.0.0' prefix='8' gateway='10.9.9.9'/>`,
      'route[0].gateway',
    ],
    [
      'a route with host bits',
      `${nat()}<route address='10.0.0.7' prefix='8' gateway='192.168.122.9'/>`,
      'route[0].address',
    ],
    ['NAT without an address', "<forward mode='nat'/>", 'ip'],
    ['an unknown mode', "<forward mode='magic'/>", 'forward.mode'],
    ['an address on a bridge of the host', `<forward mode='bridge'/><bridge name='br0'/>${ip()}`, 'ip'],
    ['STP on a bridge of the host', "<forward mode='bridge'/><bridge name='br0' stp='on'/>", 'bridge.stp'],
    [
      'NAT ports that are reversed',
      `<forward mode='nat'><nat><port start='9' end='2'/></nat></forward>${ip()}`,
      'forward.nat.port.end',
    ],
    ['a bridge with a long name', `<bridge name='abcdefghijklmnop'/>${ip()}`, 'bridge.name'],
    [
      'two default port groups',
      `${ip()}<portgroup name='a' default='yes'/><portgroup name='b' default='yes'/>`,
      'portgroup',
    ],
    ['a reserved VLAN', `${ip()}<vlan><tag id='4095'/></vlan>`, 'vlan.tag[0].id'],
    ['no VLAN in <vlan>', `${ip()}<vlan/>`, 'vlan.tag'],
    [
      'a VLAN twice',
      `${ip()}<portgroup name='a'><vlan trunk='yes'><tag id='4'/><tag id='4'/></vlan></portgroup>`,
      'portgroup[0].vlan.tag[1].id',
    ],
    [
      'two native VLANs',
      `${ip()}<vlan trunk='yes'><tag id='4' nativeMode='tagged'/><tag id='5' nativeMode='untagged'/></vlan>`,
      'vlan.tag',
    ],
    ['records without DNS', `<dns enable='no'><txt name='a' value='b'/></dns>${ip()}`, 'dns.txt'],
    ...['/', '/etc', '//etc/ssl', '/proc/1', '/srv/../etc'].map((root): [string, string, string] => [
      `TFTP of ${root}`,
      ip(`<tftp root='${root}'/>`),
      'ip[0].tftp.root',
    ]),
    ['an unknown element', `${ip()}<surprise/>`, 'surprise'],
    ['an absurd prefix', ip('', "address='10.0.0.1' prefix='4294967297'"), 'ip[0].prefix'],
  ])('with %s is refused at its place', (_what, body, path) => {
    expect(problemsOf(body).map((problem) => problem.path)).toContain(path);
  });

  const forwards = (inner: string) =>
    `<metadata><v:forwards xmlns:v='urn:vireo:network:forwards:1'>${inner}</v:forwards></metadata>`;
  it.each([
    [
      'to two places',
      "<v:forward protocol='tcp' hostPort='1' guest='a' guestAddress='192.168.122.9' guestPort='1'/>",
    ],
    ['to nobody', "<v:forward protocol='tcp' hostPort='1' guestPort='1'/>"],
    ['out of the network', "<v:forward protocol='tcp' hostPort='1' guestAddress='10.0.0.1' guestPort='1'/>"],
    ['with an unknown word', "<v:forward protocol='tcp' hostPort='1' guest='a' guestPort='1' x='y'/>"],
    ['of another protocol', "<v:forward protocol='sctp' hostPort='1' guest='a' guestPort='1'/>"],
    [
      'beyond the last port',
      "<v:forward protocol='tcp' hostPort='65530' guest='a' guestPort='65530' count='10'/>",
    ],
    [
      'to IPv6 without one',
      "<v:forward protocol='tcp' hostAddress='::' hostPort='1' guest='a' guestPort='1'/>",
    ],
    ['of no ports', "<v:forward protocol='tcp' hostPort='1' guest='a' guestPort='1' count='0'/>"],
    [
      'of ports of another range',
      "<v:forward protocol='tcp' hostPort='10' guest='a' guestPort='1' count='5'/><v:forward protocol='tcp' hostPort='14' guest='b' guestPort='1'/>",
    ],
    [
      'of too many shifted ports',
      [1, 2, 3, 4, 5]
        .map((n) => `<v:forward protocol='tcp' hostPort='${n * 2000}' guest='a' guestPort='1' count='1024'/>`)
        .join(''),
    ],
    [
      'of one port to two',
      "<v:forward protocol='tcp' hostPort='1' guest='a' guestPort='1'/><v:forward protocol='tcp' hostAddress='127.0.0.1' hostPort='1' guest='b' guestPort='1'/>",
    ],
  ])('with a port forward %s is refused', (_what, inner) => {
    expect(problemsOf(forwards(inner) + nat())).not.toEqual([]);
  });

  it('with a DOCTYPE, a bomb of elements or endless nesting is refused', () => {
    expect(problemsOf('<!DOCTYPE a>')).not.toEqual([]);
    expect(problemsOf(ip('<dhcp/>').repeat(70))).not.toEqual([]);
    expect(problemsOf('<a>'.repeat(5000))).not.toEqual([]);
  });
});
