/** Secrets, network filters, node devices and interfaces of the host, by a system daemon in a network namespace. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, project, TestDaemon } from '../support/daemon.ts';
import { daemonInNamespace, untilDefaultIsActive } from '../support/namespaced-daemon.ts';
import { ip, removeNamespace } from '../support/namespaces.ts';
import { describeWith } from '../support/needs.ts';

const here = `vireo-objects-${process.pid}`;
const rules = () =>
  execFileSync('ip', ['netns', 'exec', here, 'nft', 'list', 'ruleset'], { encoding: 'utf8', stdio: 'pipe' });
const mac = '52:54:00:00:00:0e';
const filter = (port: number) =>
  `<filter name='mine'><rule action='drop' direction='in'><ip protocol='tcp' dstportstart='${port}'/></rule></filter>`;

/** qemu-img measures how fast it derives keys, and gives up where the host tells CPU times too coarsely; so, again. */
function createImage(args: readonly string[]): void {
  for (let left = 10; ; left -= 1) {
    try {
      execFileSync('qemu-img', ['create', '-q', ...args], { encoding: 'utf8', stdio: 'pipe' });
      return;
    } catch (error) {
      if (left === 0 || !String((error as { stderr?: string }).stderr).includes('CPU usage')) throw error;
    }
  }
}

describeWith(
  ['root', 'ip', 'nft', 'dnsmasq', 'qemu-system-x86_64', 'qemu-img'],
  'objects of the host',
  () => {
    let daemon: TestDaemon;
    let client: VireoClient;

    beforeAll(async () => {
      ({ daemon, client } = await daemonInNamespace(here, 'vireo-objects-'));
      await untilDefaultIsActive(client);
    });
    afterAll(async () => {
      await daemon?.remove();
      removeNamespace(here);
    });

    /** The command line, as a person uses it. */
    const vireo = (args: readonly string[], input = '') =>
      execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], { encoding: 'utf8', input });

    it('keeps a secret over a restart, apart from its definition, and out of the log', async () => {
      const xml = "<secret><usage type='ceph'><name>client.admin</name></usage></secret>";
      vireo(['secret', 'define', '-'], xml);
      vireo(['secret', 'set-value', 'ceph:client.admin'], 'open sesame\n');
      const values = join(daemon.root, 'etc/vireo/secret-values');
      const [file = ''] = readdirSync(values);
      expect(statSync(join(values, file)).mode & 0o777).toBe(0o600);
      await client.close();
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect(vireo(['secret', 'value', '--plain', 'ceph:client.admin'])).toBe('open sesame');
      expect(daemon.stderr.join('')).not.toMatch(/sesame|b3BlbiBzZXNhbWU/);
      const stored = join(daemon.root, 'etc/vireo/secrets', file.replace('.base64', '.xml'));
      expect(readFileSync(stored, 'utf8')).not.toMatch(/sesame|b3BlbiBzZXNhbWU/);
      vireo(['secret', 'undefine', 'ceph:client.admin']);
      expect(readdirSync(values)).toEqual([]);
    });

    it('gives a running guest the new rules of its filter, also after a restart, and keeps a filter that is used', async () => {
      vireo(['filter', 'define', '-'], filter(1234));
      await client.call('domain.define', {
        xml: `<domain type='qemu'><name>guarded</name><memory unit='MiB'>32</memory>
        <os><type machine='pc'>hvm</type></os>
        <devices><interface type='network'><mac address='${mac}'/><source network='default'/>
          <model type='virtio'/><filterref filter='mine'/></interface></devices></domain>`,
      });
      await client.call('domain.start', { domain: 'guarded' });
      expect(rules()).toContain('dport 1234');
      const { bindings } = await client.call('nwfilter.bindings', {});
      expect(bindings).toMatchObject([{ domain: { name: 'guarded' }, mac, filter: 'mine' }]);
      vireo(['filter', 'define', '-'], filter(4321));
      expect(rules()).toContain('dport 4321');
      expect(rules()).not.toContain('dport 1234');
      await expect(client.call('nwfilter.undefine', { filter: 'mine' })).rejects.toMatchObject({
        code: 'nwfilter.in-use',
        reason: expect.stringContaining("'guarded'"),
      });
      await client.close();
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      vireo(['filter', 'define', '-'], filter(5555));
      expect(rules()).toContain('dport 5555');
      await client.call('domain.destroy', { domain: 'guarded' });
      await eventually('the rules are gone', async () => !rules().includes('dport 5555'));
      expect(vireo(['filter', 'undefine', 'mine'])).toContain("'mine' is gone");
    });

    it('starts guests on disks that are locked with LUKS, and says what is missing when it cannot', async () => {
      const phrase = 'correct horse';
      const make = (name: string, format: string, ...options: string[]) => {
        const path = join(daemon.root, name);
        const secret = `secret,id=s,data=${phrase}`;
        createImage(['--object', secret, '-f', format, '-o', options.join(','), path, '4M']);
        return path;
      };
      const qcow2 = make(
        'locked.qcow2',
        'qcow2',
        'encrypt.format=luks',
        'encrypt.key-secret=s',
        'encrypt.iter-time=10',
      );
      const raw = make('locked.raw', 'luks', 'key-secret=s', 'iter-time=10');
      const disk = (type: string, path: string, dev: string) => `<disk type='file' device='disk'>
      <driver name='qemu' type='${type}'/>
      <source file='${path}'><encryption format='luks'><secret type='passphrase' usage='${path}'/></encryption></source>
      <target dev='${dev}' bus='virtio'/></disk>`;
      await client.call('domain.define', {
        xml: `<domain type='qemu'><name>locked</name><memory unit='MiB'>32</memory>
        <os><type machine='pc'>hvm</type></os>
        <devices>${disk('raw', raw, 'vda')}${disk('qcow2', qcow2, 'vdb')}</devices></domain>`,
      });
      const start = () => client.call('domain.start', { domain: 'locked' });
      await expect(start()).rejects.toMatchObject({ code: 'secret.not-found' });
      for (const path of [raw, qcow2]) {
        const xml = `<secret private='yes'><usage type='volume'><volume>${path}</volume></usage></secret>`;
        vireo(['secret', 'define', '-'], xml);
      }
      await expect(start()).rejects.toMatchObject({ code: 'secret.no-value' });
      const give = (path: string, value: string) => vireo(['secret', 'set-value', `volume:${path}`], value);
      give(raw, phrase);
      give(qcow2, 'wrong');
      await expect(start()).rejects.toMatchObject({ code: 'domain.start-failed' });
      give(qcow2, phrase);
      await start();
      const { argv } = await client.call('domain.command-line', { domain: 'locked' });
      expect(argv.join(' ')).toMatch(/"driver":"luks".*"encrypt":\{"format":"luks"/);
      expect(argv.join(' ')).not.toContain(phrase);
      await client.call('domain.destroy', { domain: 'locked' });
    });

    it('tells of a device that comes and goes, and has its documents meanwhile', async () => {
      const stream = await client.subscribe({ events: ['node-device.*'] });
      // The first look is what later ones are compared with.
      await new Promise((done) => setTimeout(done, 1500));
      ip('-n', here, 'link', 'add', 'vobj0', 'address', mac, 'type', 'bridge');
      const name = 'net_vobj0_52_54_00_00_00_0e';
      const seen: string[] = [];
      for await (const event of stream) {
        if (!('device' in event) || typeof event.device !== 'object' || event.device.name !== name) continue;
        seen.push(event.event);
        if (event.event === 'node-device.removed') break;
        const { xml } = await client.call('node-device.xml', { device: name });
        expect(xml).toContain('<interface>vobj0</interface>');
        expect(vireo(['host', 'interface', 'vobj0'])).toMatch(/<bridge stp='off' delay='[\d.]+'\/>/);
        ip('-n', here, 'link', 'del', 'vobj0');
      }
      expect(seen).toEqual(['node-device.added', 'node-device.removed']);
      expect(vireo(['host', 'node-devices', '--capability', 'system'])).toContain('computer');
    });
  },
);

describeWith([], 'a session', () => {
  it('has secrets and looks at devices, but says why it has no filters and moves no devices', async () => {
    const daemon = await TestDaemon.start({ mode: 'session' });
    try {
      const client = await daemon.connect();
      await client.call('secret.define', { xml: "<secret ephemeral='yes' private='yes'/>" });
      expect((await client.call('secret.list', {})).secrets).toMatchObject([
        { ephemeral: true, private: true },
      ]);
      const { devices } = await client.call('node-device.list', { capabilities: ['system'] });
      expect(devices).toMatchObject([{ name: 'computer', parent: null }]);
      await expect(client.call('nwfilter.list', {})).rejects.toMatchObject({ code: 'network.session' });
      await expect(client.call('node-device.detach', { device: 'computer' })).rejects.toMatchObject({
        code: 'request.unsupported',
      });
      await client.close();
    } finally {
      await daemon.remove();
    }
  });
});
