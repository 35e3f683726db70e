/** Passwords of displays that change while the guest runs, as clients of VNC and SPICE meet them; and what cannot change. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { rfbHandshake } from '../support/rfb.ts';
import { spiceLetsIn, spiceLink } from '../support/spice.ts';

const run = promisify(execFile);

describeWith(['root', 'qemu-system-x86_64', 'virsh'], 'the displays of a running guest', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  const ports = { vnc: 0, spice: 0 };
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    const xml = `<domain type='qemu'><name>shown</name><memory unit='MiB'>32</memory>
      <os><type machine='pc'>hvm</type></os><devices><graphics type='vnc' autoport='yes' passwd='first'/>
      <graphics type='spice' autoport='yes' passwd='first'><listen type='address' address='127.0.0.1'/></graphics></devices></domain>`;
    await client.call('domain.create-xml', { xml });
    const shown = (await client.call('domain.xml', { domain: 'shown' })).xml;
    for (const type of ['vnc', 'spice'] as const)
      ports[type] = Number(new RegExp(`type='${type}' port='(\\d+)'`).exec(shown)?.[1]);
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const letsIn = {
    vnc: async (password: string) =>
      (await rfbHandshake({ host: '127.0.0.1', port: ports.vnc }, password)).isLetIn === true,
    spice: (password: string) => spiceLetsIn({ host: '127.0.0.1', port: ports.spice }, password),
  };
  const update = (type: string, rest: string, inner = '') =>
    client.call('domain.update-device', {
      ...{ domain: 'shown', live: true },
      xml: `<graphics type='${type}' ${rest}>${inner}</graphics>`,
    });
  /** What virsh says of a change. */
  const virsh = async (xml: string): Promise<string> => {
    const path = join(daemon.root, 'device.xml');
    writeFileSync(path, xml);
    const uri = `qemu:///system?socket=${daemon.root}/run/libvirt/libvirt-sock`;
    const { stdout, stderr } = await run('virsh', [
      '-c',
      uri,
      'update-device',
      'shown',
      path,
      '--live',
    ]).catch((error: unknown) => error as { stdout: string; stderr: string });
    return (stdout + stderr).trim();
  };

  describe.each(['vnc', 'spice'] as const)('by %s', (type) => {
    it('wants the new password from then on, not the old one', async () => {
      expect([await letsIn[type]('first'), await letsIn[type]('second')]).toEqual([true, false]);
      expect(await virsh(`<graphics type='${type}' autoport='yes' passwd='second'/>`)).toBe(
        'Device updated successfully',
      );
      expect([await letsIn[type]('first'), await letsIn[type]('second')]).toEqual([false, true]);
    });

    it('lets nobody in when the password has expired, and again when it has not', async () => {
      await update(type, "passwd='second' passwdValidTo='2020-01-01T00:00:00'");
      expect(await letsIn[type]('second')).toBe(false);
      await update(type, "passwd='second' passwdValidTo='2090-01-01T00:00:00'");
      expect(await letsIn[type]('second')).toBe(true);
      // The time alone, as in a document without passwords.
      await update(type, "passwdValidTo='2020-01-01T00:00:00'");
      expect(await letsIn[type]('second')).toBe(false);
      // A new password without a time is good for ever.
      await update(type, "passwd='third'");
      expect(await letsIn[type]('third')).toBe(true);
    });

    it('stays where it listens, and says so', async () => {
      const unchanged = (await client.call('domain.xml', { domain: 'shown', secure: true })).xml;
      const element = new RegExp(`<graphics type='${type}'[^]*?</graphics>`).exec(unchanged)?.[0] ?? '';
      await client.call('domain.update-device', { domain: 'shown', live: true, xml: element });
      expect(await letsIn[type]('third')).toBe(true);
      for (const [rest, inner, path] of [
        [`autoport='no' port='${ports[type] + 1000}'`, '', 'graphics.port'],
        ["autoport='yes'", "<listen type='address' address='0.0.0.0'/>", 'graphics.listens'],
        ["autoport='yes'", "<listen type='none'/>", 'graphics.listens'],
        ["autoport='yes' keymap='de'", '', 'graphics.keymap'],
      ] as const)
        await expect(update(type, `${rest} passwd='fourth'`, inner)).rejects.toMatchObject({
          code: 'definition.unsupported',
          reason: `${path}: cannot be changed while the guest runs`,
        });
      expect(await virsh(`<graphics type='${type}' port='${ports[type] + 1000}' passwd='fourth'/>`)).toMatch(
        /graphics\.port: cannot be changed while the guest runs/,
      );
      expect(await letsIn[type]('third')).toBe(true);
    });
  });

  it('of SPICE keeps or ends who is connected, as wished', async () => {
    // A second client of the main channel would end the first.
    const link = await spiceLink({ host: '127.0.0.1', port: ports.spice }, 'third');
    expect(link.isLetIn).toBe(true);
    await update('spice', "passwd='fourth' connected='keep'");
    expect(await Promise.race([link.isOver, Promise.resolve('goes on')])).toBe('goes on');
    await update('spice', "passwd='fifth' connected='disconnect'");
    await link.isOver;
    link.socket.destroy();
    expect(await letsIn.spice('fifth')).toBe(true);
  });
});
