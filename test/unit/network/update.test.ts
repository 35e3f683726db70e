/** Changing one part of a network, as libvirt's NETWORK_UPDATE does. */
import { describe, expect, it } from 'vitest';
import { type NetworkDef, parseNetwork } from '../../../src/model/network/network.ts';
import { type UpdateCommand, type UpdateSection, updateNetwork } from '../../../src/model/network/update.ts';

const before: NetworkDef = parseNetwork(
  `<network><name>n</name><forward mode='bridge'><interface dev='eth0'/></forward>
    <dns><txt name='a' value='1'/><host ip='10.0.0.9'><hostname>nine</hostname></host></dns>
    <ip address='10.0.0.1' prefix='24'><dhcp>
      <range start='10.0.0.10' end='10.0.0.20'/>
      <host mac='52:54:00:00:00:01' name='one' ip='10.0.0.31'/>
      <host mac='52:54:00:00:00:02' name='two' ip='10.0.0.32'/>
    </dhcp></ip>
    <ip address='10.1.0.1' prefix='24'/>
    <ip address='fd00::1' prefix='64'><dhcp/></ip>
    <portgroup name='a' default='yes'/>
  </network>`,
  { mode: 'strict' },
).definition;

const update = (section: UpdateSection, command: UpdateCommand, xml: string, parentIndex?: number) =>
  updateNetwork(before, { section, command, xml, ...(parentIndex !== undefined && { parentIndex }) });
const hosts = (definition: NetworkDef, index = 0) =>
  (definition.ips[index]?.dhcp?.hosts ?? []).map(({ name, mac, id, ip }) => `${name ?? mac ?? id} ${ip}`);

describe('an update', () => {
  it('adds reservations first or last, to the subnet they fit', () => {
    const xml = "<host mac='52:54:00:00:00:03' name='three' ip='10.0.0.33'/>";
    expect(hosts(update('ip-dhcp-host', 'add-last', xml)).at(-1)).toBe('three 10.0.0.33');
    expect(hosts(update('ip-dhcp-host', 'add-first', xml))[0]).toBe('three 10.0.0.33');
    const other = "<host mac='52:54:00:00:00:03' ip='10.1.0.33'/>";
    expect(hosts(update('ip-dhcp-host', 'add-last', other), 1)).toEqual(['52:54:00:00:00:03 10.1.0.33']);
    expect(hosts(update('ip-dhcp-host', 'add-last', "<host id='0:1:2' ip='fd00::5'/>"), 2)).toEqual([
      '0:1:2 fd00::5',
    ]);
    expect(hosts(update('ip-dhcp-host', 'add-last', other, 0)).at(-1)).toContain('10.1.0.33');
  });

  it('modifies a reservation, known by its MAC address or its name', () => {
    const moved = "<host mac='52:54:00:00:00:02' name='deux' ip='10.0.0.99'/>";
    expect(hosts(update('ip-dhcp-host', 'modify', moved))).toEqual(['one 10.0.0.31', 'deux 10.0.0.99']);
    const named = "<host name='one' ip='10.0.0.77'/>";
    expect(hosts(update('ip-dhcp-host', 'modify', named))[0]).toBe('one 10.0.0.77');
  });

  it('deletes what fits all that is told', () => {
    expect(hosts(update('ip-dhcp-host', 'delete', "<host ip='10.0.0.31'/>"))).toEqual(['two 10.0.0.32']);
    expect(hosts(update('ip-dhcp-host', 'delete', "<host name='two'/>"))).toEqual(['one 10.0.0.31']);
    const after = update('dns-host', 'delete', '<host><hostname>nine</hostname></host>');
    expect(after.dns?.hosts).toEqual([]);
  });

  it('changes ranges, interfaces, port groups and records', () => {
    const range = "<range start='10.0.0.40' end='10.0.0.50'/>";
    expect(update('ip-dhcp-range', 'add-last', range).ips[0]?.dhcp?.ranges).toHaveLength(2);
    const gone = update('ip-dhcp-range', 'delete', "<range start='10.0.0.10' end='10.0.0.20'/>");
    expect(gone.ips[0]?.dhcp?.ranges).toEqual([]);
    const first = update('forward-interface', 'add-first', "<interface dev='eth9'/>");
    expect(first.forward).toMatchObject({ dev: 'eth9', interfaces: [{ dev: 'eth9' }, { dev: 'eth0' }] });
    const group = update('portgroup', 'modify', "<portgroup name='a'/>");
    expect(group.portgroups).toEqual([{ name: 'a' }]);
    expect(update('dns-txt', 'add-last', "<txt name='a' value='2'/>").dns?.txt).toHaveLength(2);
    expect(update('dns-srv', 'add-last', "<srv service='s' protocol='tcp'/>").dns?.srv).toHaveLength(1);
  });

  it('leaves the definition it was given as it was', () => {
    const copy = structuredClone(before);
    update('ip-dhcp-host', 'delete', "<host name='two'/>");
    expect(before).toEqual(copy);
  });

  it.each([
    ['ip-dhcp-host', 'add-last', "<host mac='52:54:00:00:00:01' ip='10.0.0.77'/>", 'operation.failed'],
    ['ip-dhcp-host', 'add-last', "<host mac='52:54:00:00:00:09' ip='10.0.0.31'/>", 'operation.failed'],
    ['ip-dhcp-host', 'modify', "<host mac='52:54:00:00:00:09' ip='10.0.0.31'/>", 'operation.failed'],
    ['ip-dhcp-host', 'modify', "<host mac='52:54:00:00:00:01' ip='10.0.0.32'/>", 'operation.failed'],
    ['ip-dhcp-host', 'delete', "<host ip='10.0.0.99'/>", 'operation.failed'],
    ['ip-dhcp-range', 'modify', "<range start='10.0.0.10' end='10.0.0.20'/>", 'request.unsupported'],
    ['ip-dhcp-range', 'add-last', "<range start='10.0.0.10' end='10.0.0.20'/>", 'operation.failed'],
    ['portgroup', 'add-last', "<portgroup name='b' default='yes'/>", 'operation.failed'],
    ['dns-txt', 'add-last', "<txt name='a' value='x&#10;y'/>", 'xml.invalid'],
    ['dns-txt', 'add-last', '<host/>', 'xml.invalid'],
    ['dns-txt', 'add-last', '<txt', 'xml.malformed'],
  ] as const)('%s %s of %s is refused with its code', (section, command, xml, code) => {
    expect(() => update(section, command, xml)).toThrow(expect.objectContaining({ code }));
  });
});
