import { describe, expect, it } from 'vitest';
import { findAgent, findConsole, videoHead } from '../../../src/drivers/qemu/find-device.ts';
import { liveDefinition, withChannelStates } from '../../../src/drivers/qemu/live-definition.ts';
import { assignAliases } from '../../../src/model/domain/aliases.ts';
import { dropChosenPaths } from '../../../src/model/domain/chosen-paths.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';

function domain(devices: string): DomainDef {
  const xml = `<domain type='qemu'><name>d</name><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
    <devices>${devices}</devices></domain>`;
  return assignAliases(parseDomain(xml, { mode: 'strict' }).definition);
}

const serialAndConsole = domain(
  "<serial type='pty'/><console type='pty'><target type='serial'/></console><console type='unix'><target type='virtio'/></console>",
);
const record = { ptys: { serial0: '/dev/pts/7' }, sockets: { console1: '/run/c1' } };

describe('a console', () => {
  it('is the first serial port when nobody says which, and answers to console0 too', () => {
    const serial = { kind: 'pty', alias: 'serial0', path: '/dev/pts/7' };
    expect(findConsole(serialAndConsole, record, undefined)).toEqual(serial);
    expect(findConsole(serialAndConsole, record, 'serial0')).toEqual(serial);
    expect(findConsole(serialAndConsole, record, 'console0')).toEqual(serial);
    expect(findConsole(serialAndConsole, record, 'console1')).toMatchObject({
      kind: 'socket',
      path: '/run/c1',
    });
  });

  it('that is not there is refused with what there is, names of Object included', () => {
    for (const alias of ['serial7', 'constructor', '__proto__'])
      expect(() => findConsole(serialAndConsole, record, alias)).toThrow(
        expect.objectContaining({ code: 'domain.no-device', hint: expect.stringContaining('serial0') }),
      );
    expect(() => findConsole(domain(''), { ptys: {}, sockets: {} }, undefined)).toThrow(
      expect.objectContaining({ code: 'domain.no-device' }),
    );
  });

  it("has its pty's path in the live definition, in both of its forms", () => {
    const live = liveDefinition(serialAndConsole, {
      ptys: record.ptys,
      sockets: {},
      graphicsPorts: [],
      links: {},
    });
    expect(live.devices.serials[0]?.source).toMatchObject({ path: '/dev/pts/7' });
    expect(live.devices.consoles[0]).toMatchObject({ tty: '/dev/pts/7', source: { path: '/dev/pts/7' } });
    expect(live.devices.consoles[1]).not.toHaveProperty('tty');
  });
});

describe('what was chosen at the start', () => {
  it('stands in the live definition: ports, host interfaces', () => {
    const definition = domain(
      "<interface type='bridge'><source bridge='br0'/></interface><graphics type='vnc' autoport='yes' websocket='-1'/><graphics type='spice' autoport='yes'/>",
    );
    const live = liveDefinition(definition, {
      ptys: {},
      sockets: {},
      graphicsPorts: [{ port: 5901, websocket: 5902 }, { port: 5903 }],
      links: { '0': 'vnet3' },
    });
    expect(live.devices.graphics).toMatchObject([{ port: 5901, websocket: 5902 }, { port: 5903 }]);
    expect(live.devices.interfaces[0]?.target?.dev).toBe('vnet3');
  });
});

describe('a definition made from live XML', () => {
  const channel = (path: string): string =>
    `<channel type='unix'><source mode='bind' path='${path}'/><target type='virtio' name='a'/></channel>`;
  const graphics = (path: string): string =>
    `<graphics type='vnc'><listen type='socket' socket='${path}'/></graphics>`;

  it('loses the sockets that were chosen for the guest, and keeps all others', () => {
    const paths = ['/run/vireo/g/3-x/c0.sock', '/var/lib/libvirt/qemu/channel/target/domain-3-n/a', '/srv/a'];
    const live = domain(paths.map(channel).join('') + graphics('/run/vireo/g/3-x/own/vnc.sock'));
    const { devices } = dropChosenPaths(live, ['/run/vireo/g']);
    const found = devices.channels.map(({ source }) => ('path' in source ? source.path : undefined));
    expect(found).toEqual([undefined, undefined, '/srv/a']);
    expect(devices.graphics).toMatchObject([{ listens: [{ type: 'socket' }] }]);
    expect(JSON.stringify(devices.graphics)).not.toContain('vnc.sock');
  });
});

describe('channels of a running guest', () => {
  it('say which the guest has open, and where their sockets are', () => {
    const channel = (name: string): string =>
      `<channel type='unix'><target type='virtio' name='${name}'/></channel>`;
    const live = liveDefinition(domain(channel('a') + channel('b')), {
      ptys: {},
      sockets: { channel0: '/run/c0' },
      graphicsPorts: [],
      links: {},
    });
    const { channels } = withChannelStates(live, new Set(['channel1'])).devices;
    expect(channels).toMatchObject([
      { source: { mode: 'bind', path: '/run/c0' }, target: { state: 'disconnected' } },
      { target: { state: 'connected' } },
    ]);
  });

  it('and a display server without an address shows the one it listens on', () => {
    const live = liveDefinition(domain("<graphics type='vnc'><listen type='address'/></graphics>"), {
      ptys: {},
      sockets: {},
      graphicsPorts: [],
      links: {},
    });
    expect(live.devices.graphics).toMatchObject([{ listens: [{ type: 'address', address: '127.0.0.1' }] }]);
  });
});

describe('the agent', () => {
  it('is the channel with its name', () => {
    const channel = (name: string): string =>
      `<channel type='unix'><target type='virtio' name='${name}'/></channel>`;
    expect(findAgent(domain(channel('org.other') + channel('org.qemu.guest_agent.0')))).toBe('channel1');
    expect(findAgent(domain(channel('org.other')))).toBeUndefined();
  });
});

describe('screens', () => {
  const two = domain(
    "<video><model type='qxl' heads='2' primary='yes'/></video><video><model type='virtio'/></video>",
  );

  it('are counted through all video devices and their heads', () => {
    expect(videoHead(two, 0)).toEqual({});
    expect(videoHead(two, 1)).toEqual({ device: 'video0', head: 1 });
    expect(videoHead(two, 2)).toEqual({ device: 'video1', head: 0 });
  });

  it('that are not there are refused', () => {
    for (const screen of [3, -1, 0.5])
      expect(() => videoHead(two, screen)).toThrow(expect.objectContaining({ code: 'domain.no-device' }));
    expect(() => videoHead(domain("<video><model type='none'/></video>"), 0)).toThrow(/no screen/);
  });
});
