/** Displays, clocks and other things that are settled at the start of a guest, through a whole daemon. */
import { statSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { commandLine, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { rfbHandshake, rfbSecurity } from '../support/rfb.ts';

describeWith(['root', 'qemu-system-x86_64'], 'a guest of a system daemon', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
  });
  afterAll(() => daemon.remove());
  afterEach(async () => {
    for (const { uuid } of (await client.call('domain.list')).domains)
      await client.call('domain.destroy', { domain: uuid });
  });

  /** Starts a transient guest and gives its XML. */
  async function start(devices: string, more = '', secure = false): Promise<string> {
    const xml = `<domain type='qemu'><name>shown</name><memory unit='MiB'>32</memory>
      <os><type machine='pc'>hvm</type></os>${more}<devices>${devices}</devices></domain>`;
    await client.call('domain.create-xml', { xml });
    return (await client.call('domain.xml', { domain: 'shown', secure })).xml;
  }

  const ask = async (command: string, args: Record<string, unknown> = {}): Promise<unknown> =>
    (await client.call('domain.monitor-command', { domain: 'shown', command, arguments: args })).return;

  function argv(): string {
    const [pid] = qemuProcesses(daemon.root);
    return commandLine(pid ?? 0).join(' ');
  }

  for (const type of ['vnc', 'spice'])
    it(`listens for ${type} on a socket that QEMU makes in the guest's own directory`, async () => {
      const xml = await start(`<graphics type='${type}'><listen type='socket'/></graphics>`);
      const path = /<listen type='socket' socket='([^']+)'/.exec(xml)?.[1] ?? '';
      expect(path).toMatch(new RegExp(`^${daemon.root}/run/vireo/g/.*/own/${type}\\.sock$`));
      expect(statSync(path).isSocket()).toBe(true);
      if (type === 'vnc')
        expect(await rfbHandshake({ path })).toMatchObject({ version: 'RFB 003.008', isLetIn: true });
      // What was read from the running guest can be defined again.
      await client.call('domain.define', {
        xml: xml.replace('shown', 'again').replace(/<uuid>.*<\/uuid>/, ''),
      });
      expect((await client.call('domain.xml', { domain: 'again' })).xml).not.toContain(path);
      await client.call('domain.undefine', { domain: 'again' });
      await client.call('domain.destroy', { domain: 'shown' });
      expect(() => statSync(path)).toThrow(/ENOENT/);
    });

  it('does not choose where a display socket lies', async () => {
    const graphics = "<graphics type='vnc'><listen type='socket' socket='/tmp/vireo-x.sock'/></graphics>";
    await expect(start(graphics)).rejects.toThrow(
      expect.objectContaining({ code: 'definition.unsupported' }),
    );
  });

  it('asks VNC clients for the password, which stands in no command line and no log', async () => {
    const xml = await start("<graphics type='vnc' passwd='s3cr3t!' autoport='yes'/>", '', true);
    const to = { host: '127.0.0.1', port: Number(/port='(\d+)'/.exec(xml)?.[1]) };
    expect(await rfbHandshake(to)).toMatchObject({ security: [rfbSecurity.vnc], isLetIn: undefined });
    expect((await rfbHandshake(to, 'wrong')).isLetIn).toBe(false);
    expect((await rfbHandshake(to, 's3cr3t!')).isLetIn).toBe(true);
    expect(argv()).not.toContain('s3cr3t');
    expect((await client.call('domain.log', { domain: 'shown', maxBytes: 65_536 })).text).not.toContain(
      's3cr3t',
    );
    expect(daemon.stderr.join('')).not.toContain('s3cr3t');
    expect((await client.call('domain.xml', { domain: 'shown' })).xml).not.toContain('s3cr3t');
  });

  it('lets nobody in by a password that has expired', async () => {
    const valid = (time: string) =>
      `<graphics type='vnc' passwd='s3cr3t!' passwdValidTo='${time}' autoport='yes'/>`;
    for (const [time, isLetIn] of [
      ['2020-01-01T00:00:00', false],
      ['2090-01-01T00:00:00', true],
    ] as const) {
      const xml = await start(valid(time));
      const to = { host: '127.0.0.1', port: Number(/port='(\d+)'/.exec(xml)?.[1]) };
      expect((await rfbHandshake(to, 's3cr3t!')).isLetIn).toBe(isLetIn);
      await client.call('domain.destroy', { domain: 'shown' });
    }
  });

  it('wants a ticket of SPICE clients, which stands in no command line', async () => {
    await start("<graphics type='spice' passwd='s3cr3t!' autoport='yes'/>");
    expect(await ask('query-spice')).toMatchObject({ enabled: true, auth: 'spice' });
    expect(argv()).not.toContain('s3cr3t');
  });

  const clocks: Readonly<Record<string, { xml: string; seconds: () => number }>> = {
    'variable, an hour ahead': {
      xml: "<clock offset='variable' adjustment='3600' basis='utc'/>",
      seconds: () => Date.now() / 1000 + 3600,
    },
    'variable from local time': {
      xml: "<clock offset='variable' adjustment='-60' basis='localtime'/>",
      seconds: () => Date.now() / 1000 - 60 - 60 * new Date().getTimezoneOffset(),
    },
    absolute: { xml: "<clock offset='absolute' start='1000000000'/>", seconds: () => 1_000_000_000 },
    'of another time zone': {
      xml: "<clock offset='timezone' timezone='Asia/Kolkata'/>",
      seconds: () => Date.now() / 1000 + 5.5 * 3600,
    },
  };
  for (const [what, { xml, seconds }] of Object.entries(clocks))
    it(`has a clock that is ${what}`, async () => {
      await start('', xml);
      const date = (await ask('qom-get', { path: '/machine', property: 'rtc-time' })) as Record<
        string,
        number
      >;
      const told = Date.UTC(
        1900 + (date['tm_year'] ?? 0),
        date['tm_mon'],
        date['tm_mday'],
        date['tm_hour'],
        date['tm_min'],
        date['tm_sec'],
      );
      expect(Math.abs(told / 1000 - seconds())).toBeLessThan(20);
    });

  it('has a balloon that deflates by itself and tells free pages', async () => {
    await start("<memballoon model='virtio' autodeflate='on' freePageReporting='on'/>");
    const path = '/machine/peripheral/balloon0';
    expect(await ask('qom-get', { path, property: 'deflate-on-oom' })).toBe(true);
    expect(await ask('qom-get', { path, property: 'free-page-reporting' })).toBe(true);
  });
});
