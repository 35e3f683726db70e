/** Every string of a network that reaches dnsmasq's files or a ruleset, with what would be more than a string there. */
import { describe, expect, it } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { applyNetworkDefaults } from '../../../src/model/network/defaults.ts';
import { parseNetwork } from '../../../src/model/network/network.ts';
import { validateNetwork } from '../../../src/model/network/validate/validate.ts';
import { buildDnsmasqConfig, buildHostsFile, buildNamesFile } from '../../../src/net/dnsmasq/config.ts';
import { formatDnsmasq } from '../../../src/net/dnsmasq/config-file.ts';
import { iptablesTransaction } from '../../../src/net/firewall/iptables-rules.ts';
import { formatNftRule, nftTransaction } from '../../../src/net/firewall/nft-rules.ts';
import { buildRuleset } from '../../../src/net/firewall/ruleset.ts';
import { planOf } from '../../../src/net/plan-from-definition.ts';

/** Where a string stands in the document, and one that is right there. */
const places = {
  name: 'net',
  'forward.dev': 'eth0',
  'bridge.name': 'virbr7',
  'bridge.zone': 'home',
  mac: '52:54:00:00:00:01',
  'domain.name': 'lab.example',
  'forwarder.domain': 'corp.example',
  'forwarder.addr': '192.0.2.1',
  'txt.name': 'note',
  'txt.value': 'text',
  'srv.service': 'ldap',
  'srv.domain': 'lab.example',
  'srv.target': 'dc.lab.example',
  'dns.ip': '192.168.9.9',
  hostname: 'gateway',
  address: '192.168.9.1',
  'range.start': '192.168.9.2',
  'range.end': '192.168.9.99',
  'host.mac': '52:54:00:00:00:02',
  'host.name': 'guest',
  'host.ip': '192.168.9.3',
  'host.id': '0:1:0:1:18:aa',
  'bootp.file': 'pxelinux.0',
  'bootp.server': '192.168.9.4',
  'tftp.root': '/srv/tftp',
  'nat.start': '203.0.113.1',
  'route.gateway': '192.168.9.5',
  'forwards.hostAddress': '203.0.113.9',
  'forwards.guestAddress': '192.168.9.6',
} as const;

type Place = keyof typeof places;

const documentWith = (v: Record<Place, string>) => `<network><name>${v.name}</name>
<metadata><f:forwards xmlns:f='urn:vireo:network:forwards:1'><f:forward protocol='tcp' hostAddress='${v['forwards.hostAddress']}' hostPort='80' guestAddress='${v['forwards.guestAddress']}' guestPort='80'/></f:forwards></metadata>
<forward mode='nat' dev='${v['forward.dev']}'><nat><address start='${v['nat.start']}' end='203.0.113.7'/></nat></forward>
<bridge name='${v['bridge.name']}' zone='${v['bridge.zone']}'/><mac address='${v.mac}'/>
<domain name='${v['domain.name']}'/>
<dns><forwarder domain='${v['forwarder.domain']}' addr='${v['forwarder.addr']}'/><txt name='${v['txt.name']}' value='${v['txt.value']}'/>
<srv service='${v['srv.service']}' protocol='tcp' domain='${v['srv.domain']}' target='${v['srv.target']}' port='1'/>
<host ip='${v['dns.ip']}'><hostname>${v.hostname}</hostname></host></dns>
<ip address='${v.address}' netmask='255.255.255.0'><tftp root='${v['tftp.root']}'/><dhcp>
<range start='${v['range.start']}' end='${v['range.end']}'/><host mac='${v['host.mac']}' name='${v['host.name']}' ip='${v['host.ip']}'/>
<bootp file='${v['bootp.file']}' server='${v['bootp.server']}'/></dhcp></ip>
<ip family='ipv6' address='fd00:9::1' prefix='64'><dhcp><host id='${v['host.id']}' name='six' ip='fd00:9::2'/></dhcp></ip>
<route address='10.9.0.0' prefix='16' gateway='${v['route.gateway']}'/></network>`;

const files = { config: '/c', hosts: '/h', names: '/n', leases: '/l', pid: '/p', isShared: true };

interface Written {
  readonly configuration: string;
  readonly hosts: string;
  readonly names: string;
  readonly rules: string;
  readonly tables: string;
}

/** All files of the document, undefined when it is refused. @throws what is no typed error */
function write(xml: string): Written | undefined {
  try {
    const { definition } = parseNetwork(xml, { mode: 'lenient' });
    const complete = applyNetworkDefaults(definition, {
      newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8',
      newMac: () => '52:54:00:00:00:01',
      freeBridgeName: () => 'virbr9',
    });
    if (validateNetwork(complete).length > 0) return undefined;
    const plan = planOf(complete, {
      portForwards: [
        { protocol: 'tcp', family: 4, hostPort: 80, count: 1, guestAddress: '192.168.9.6', guestPort: 80 },
      ],
      guestNames: [],
      guests: [],
    });
    const rules = buildRuleset(plan).filter(({ family }) => family === 4);
    const nft = rules.flatMap((rule) => formatNftRule(rule, plan.bridge.name) ?? []);
    return {
      configuration: formatDnsmasq(buildDnsmasqConfig(plan, files, 'nobody')),
      hosts: buildHostsFile(plan),
      names: buildNamesFile(plan),
      rules: nftTransaction({ family: 4, bridge: plan.bridge.name, wanted: nft, listed: undefined }) ?? '',
      tables: iptablesTransaction(new Map(), { wanted: rules, stale: [], isTidying: false }) ?? '',
    };
  } catch (error) {
    if (isVirtError(error)) return undefined;
    throw error;
  }
}

/** Lines, and in each the words that no value can be a part of. */
const shapeOf = (text: string): string[] => text.split('\n').map((line) => line.split(/[= ]/, 1)[0] ?? '');

const payloads: readonly string[] = [
  ...['&#10;dhcp-script=/tmp/x', '&#13;x', '&#133;x', '\u2028x', '\u2029x', '&#9;x', '&#127;', '\u0000'],
  ...[
    ',set:x',
    ' x',
    '#x',
    ';x',
    '&quot;x',
    '&apos;x',
    '`x`',
    '$(x)',
    '|x',
    '&amp;&amp;x',
    '\\nx',
    '%n',
    '/../x',
    '..',
  ],
  ...['} add rule ip x', '-j ACCEPT', '!x', '*', '\u202ex', 'x'.repeat(2000), ''],
];

describe('a document of which every string is right', () => {
  it('is taken, and everything stands in the files', () => {
    const written = write(documentWith(places));
    expect(written?.configuration).toContain('txt-record=note,text');
    expect(written?.hosts).toContain('52:54:00:00:00:02');
    expect(written?.rules).toContain('dnat to 192.168.9.6');
  });
});

describe.each(Object.keys(places) as Place[])('a hostile %s', (place) => {
  const right = write(documentWith(places));

  it.each(payloads.flatMap((payload) => [places[place] + payload, payload + places[place]]))(
    'as %j is refused, or stays one value',
    (text) => {
      const written = write(documentWith({ ...places, [place]: text }));
      if (written === undefined || right === undefined) return expect(written).toBeUndefined();
      // An order of lines and keys that nothing but this value could have changed.
      for (const file of ['configuration', 'hosts', 'names', 'rules', 'tables'] as const)
        expect(shapeOf(written[file]).length).toBe(shapeOf(right[file]).length);
      expect(shapeOf(written.configuration)).toEqual(shapeOf(right.configuration));
    },
  );
});

describe('a line for dnsmasq', () => {
  it.each(['&#10;', '&#13;', '&#133;', '\u2028', '\u2029'])('with the line end %j is refused', (end) => {
    const xml = documentWith(places)
      .replace('<network>', "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>")
      .replace(
        '</network>',
        `<dnsmasq:options><dnsmasq:option value='log-queries${end}dhcp-script=/x'/></dnsmasq:options></network>`,
      );
    expect(writeWithOptions(xml)).toBeUndefined();
  });
});

/** As `write`, with the lines of `<dnsmasq:options>` at the end of the configuration. */
function writeWithOptions(xml: string): string | undefined {
  try {
    const { definition } = parseNetwork(xml, { mode: 'strict' });
    return formatDnsmasq(
      [],
      definition.dnsmasqOptions.map(({ value }) => value),
    );
  } catch (error) {
    if (isVirtError(error)) return undefined;
    throw error;
  }
}
