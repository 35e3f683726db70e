/**
 * Networks as a user has them: a system daemon in a network namespace of its own, with Linux guests on `default`, and a
 * second namespace as the world beyond.
 */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import type { MethodName } from '../../src/api/index.ts';
import { methods } from '../../src/api/index.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { untilDefaultIsActive } from '../support/namespaced-daemon.ts';
import { ip, removeNamespace } from '../support/namespaces.ts';
import { describeWith } from '../support/needs.ts';

const here = `vireo-e2e-${process.pid}`;
const world = `${here}-world`;

const inside = (namespace: string, ...argv: string[]) =>
  execFileSync('ip', ['netns', 'exec', namespace, ...argv], {
    encoding: 'utf8',
    timeout: 20_000,
    stdio: 'pipe',
  });

/** The body of a page, fetched from that namespace. */
function fetchFrom(namespace: string, address: string, port = 80): string {
  const program = `fetch('http://${address}:${port}/', { signal: AbortSignal.timeout(4000) }).then((r) => r.text()).then((t) => process.stdout.write(t))`;
  return inside(namespace, process.execPath, '-e', program);
}

/** Two namespaces joined by a wire: 10.99.0.1 is the host, 10.99.0.2 the world. */
function makeNamespaces(): void {
  ip('netns', 'add', here);
  ip('netns', 'add', world);
  ip('-n', here, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', world);
  for (const [namespace, device, address] of [
    [here, 'up0', '10.99.0.1/24'],
    [world, 'eth0', '10.99.0.2/24'],
  ] as const) {
    ip('-n', namespace, 'addr', 'add', address, 'dev', device);
    ip('-n', namespace, 'link', 'set', device, 'up');
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
  }
}

function removeNamespaces(): void {
  for (const namespace of [here, world]) {
    removeNamespace(namespace);
  }
}

/** Asks DNS for the guest named on the kernel command line, fetches its page, and calls the world. */
const atStart = `#!/bin/sh
# busybox's own wget asks for the port of http, which a static binary cannot look up here.
get() { (printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 2) | nc -w 5 $1 $2 | tail -n 1; }
peer=$(sed -n 's/.*vireo.peer=\\([a-z]*\\).*/\\1/p' /proc/cmdline)
[ -n "$peer" ] || exit 0
address=$(nslookup $peer | sed -n 's/^Address[^:]*: *\\([0-9.]*\\).*/\\1/p' | tail -n 1)
echo "peer $peer at $address says: $(get $address 80)"
echo "the world says: $(get 10.99.0.2 8000)"
`;

describeWith(
  ['root', 'ip', 'dnsmasq', 'busybox', 'qemu-system-x86_64'],
  'a system daemon with networks',
  () => {
    let base: string;
    let daemon: TestDaemon;
    let client: VireoClient;
    let files: Awaited<ReturnType<typeof littleLinux>>;

    beforeAll(async () => {
      makeNamespaces();
      // Below a directory that all may enter, the daemon makes its own so that dnsmasq's user may, too.
      base = mkdtempSync(join(tmpdir(), 'vireo-net-'));
      chmodSync(base, 0o755);
      const root = join(base, 'r');
      daemon = await TestDaemon.start({ root, inside: ['ip', 'netns', 'exec', here] });
      client = await daemon.connect();
      files = await littleLinux(join(root, 'linux'), [startScript(atStart)]);
    }, 300_000);
    afterAll(async () => {
      await daemon?.remove();
      removeNamespaces();
      rmSync(base, { recursive: true, force: true });
    });

    const guestXml = (name: string, mac: string, commandLine = '') => `<domain type='qemu'>
    <name>${name}</name><memory unit='MiB'>160</memory>
    <os><type machine='pc'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
      <cmdline>console=ttyS0 quiet no_timer_check vireo.hostname=${name} ${commandLine}</cmdline></os>
    <devices>
      <interface type='network'><mac address='${mac}'/><source network='default'/><model type='virtio'/></interface>
      <serial type='pty'><log file='${daemon.root}/${name}.log'/></serial>
    </devices></domain>`;

    const consoleOf = async (name: string) =>
      (await client.call('domain.log', { domain: name, source: 'console' })).text;
    const ready = (name: string) =>
      eventually(
        `${name} is ready`,
        async () => (await consoleOf(name)).includes('vireo guest: ready'),
        100_000,
      );
    const addressOf = async (name: string) => {
      const { leases } = await client.call('network.leases', { network: 'default' });
      return leases.find((lease) => lease.domain === name)?.address;
    };

    it("defines 'default' at its first start, and starts it", async () => {
      await untilDefaultIsActive(client);
      const details = await client.call('network.get', { network: 'default' });
      expect(details).toMatchObject({
        mode: 'nat',
        bridge: 'virbr0',
        autostart: true,
        persistent: true,
        subnets: ['192.168.122.0/24'],
        addresses: [
          { address: '192.168.122.1', dhcpRanges: [{ start: '192.168.122.2', end: '192.168.122.254' }] },
        ],
      });
    });

    it('has its DHCP server read hosts and names anew without a restart', () => {
      const files = `${daemon.root}/var/lib/libvirt/dnsmasq/default`;
      const lines = readFileSync(`${files}.conf`, 'utf8').split('\n');
      expect(lines).toEqual(
        expect.arrayContaining([`dhcp-hostsfile=${files}.hostsfile`, `addn-hosts=${files}.addnhosts`]),
      );
    });

    it('gives guests addresses and names, leads them to each other and to the world, as the host', async () => {
      const reservation = "<host mac='52:54:00:00:00:0a' name='alpha' ip='192.168.122.50'/>";
      const update = {
        network: 'default',
        section: 'ip-dhcp-host',
        command: 'add-last',
        xml: reservation,
      } as const;
      await client.call('network.update', update);
      // The server answers with the address it is asked from.
      const program =
        "require('node:http').createServer((q, r) => r.end(q.socket.remoteAddress.replace('::ffff:', ''))).listen(8000)";
      // It ends with its namespace.
      spawn('ip', ['netns', 'exec', world, process.execPath, '-e', program], { stdio: 'ignore' }).unref();
      await client.call('domain.define', { xml: guestXml('alpha', '52:54:00:00:00:0a'), startAfter: true });
      await ready('alpha');
      expect(await consoleOf('alpha')).toContain(
        'address 192.168.122.50 gateway 192.168.122.1 dns 192.168.122.1',
      );
      await client.call('domain.define', {
        xml: guestXml('beta', '52:54:00:00:00:0b', 'vireo.peer=alpha'),
        startAfter: true,
      });
      await ready('beta');
      const said = await consoleOf('beta');
      expect(said).toContain('peer alpha at 192.168.122.50 says: Hello from alpha.');
      expect(said).toContain('the world says: 10.99.0.1');
      expect(await addressOf('alpha')).toBe('192.168.122.50');
      expect(await addressOf('beta')).toMatch(/^192\.168\.122\.\d+$/);
      expect(await client.call('domain.get', { domain: 'alpha' })).toMatchObject({
        interfaces: [{ type: 'network', source: 'default', address: '192.168.122.50' }],
      });
      const { ports } = await client.call('network.get', { network: 'default' });
      expect(ports.map((port) => port.domain.name).sort()).toEqual(['alpha', 'beta']);
    }, 250_000);

    it('leads a port of the host to a guest by its name', async () => {
      await client.call('network.port-forward.add', {
        network: 'default',
        hostPort: 8080,
        guest: 'beta',
        guestPort: 80,
      });
      expect(fetchFrom(world, '10.99.0.1', 8080)).toBe('Hello from beta.\n');
      expect(fetchFrom(here, '10.99.0.1', 8080)).toBe('Hello from beta.\n');
      await client.call('network.port-forward.remove', { network: 'default', hostPort: 8080 });
      expect(() => fetchFrom(world, '10.99.0.1', 8080)).toThrow(/netns exec/);
    });

    it('leaves a port to the program of the host that has it, and says which', async () => {
      const program = "require('node:net').createServer().listen(8090, () => console.log('ready'))";
      const taker = spawn('ip', ['netns', 'exec', here, process.execPath, '-e', program]);
      await new Promise((done) => taker.stdout.once('data', done));
      const wish = { network: 'default', hostPort: 8090, guest: 'beta', guestPort: 80 };
      await expect(client.call('network.port-forward.add', wish)).rejects.toMatchObject({
        code: 'forward.conflict',
        message: expect.stringContaining("'node' (process") as unknown,
      });
      const ended = new Promise((done) => taker.once('exit', done));
      taker.kill();
      await ended;
      await client.call('network.port-forward.add', { ...wish, count: 2 });
      expect(fetchFrom(world, '10.99.0.1', 8090)).toBe('Hello from beta.\n');
      await client.call('network.port-forward.remove', { network: 'default', hostPort: 8090 });
    });

    it('is killed and leaves everything as it was; the next one knows it all', async () => {
      const before = await client.call('network.get', { network: 'default' });
      await client[Symbol.asyncDispose]();
      await daemon.end('SIGKILL');
      expect(fetchFrom(here, '192.168.122.50')).toBe('Hello from alpha.\n');
      daemon = await TestDaemon.start({ root: daemon.root, inside: ['ip', 'netns', 'exec', here] });
      client = await daemon.connect();
      // Whether the job that brings its guests' links back is still under way is chance.
      expect({ ...(await client.call('network.get', { network: 'default' })), job: null }).toEqual({
        ...before,
        job: null,
      });
      expect(await addressOf('alpha')).toBe('192.168.122.50');
      expect(fetchFrom(here, '192.168.122.50')).toBe('Hello from alpha.\n');
    });

    it('stops and starts a network under running guests, which are connected again', async () => {
      const { disconnected } = await client.call('network.stop', { network: 'default' });
      expect(disconnected).toEqual(['alpha', 'beta']);
      expect(() => fetchFrom(here, '192.168.122.50')).toThrow(/netns exec/);
      await client.call('network.start', { network: 'default' });
      await eventually('alpha answers', () => {
        try {
          return fetchFrom(here, '192.168.122.50') === 'Hello from alpha.\n';
        } catch {
          return false; // not yet
        }
      });
    });

    it('tells a guest in DNS by the name of its domain, whatever it calls itself', async () => {
      const xml = guestXml('epsilon', '52:54:00:00:00:0e').replace('vireo.hostname=epsilon', '');
      await client.call('domain.define', { xml, startAfter: true });
      await ready('epsilon');
      const lookUp = () => inside(here, 'busybox', 'nslookup', '-type=a', 'epsilon', '192.168.122.1');
      await eventually('DNS knows epsilon', async () => {
        const address = await addressOf('epsilon');
        try {
          return address !== undefined && lookUp().includes(`Address: ${address}`);
        } catch {
          return false; // not yet
        }
      });
      // What libnss_libvirt_guest reads.
      const macs = readFileSync(join(daemon.root, 'var/lib/libvirt/dnsmasq/virbr0.macs'), 'utf8');
      expect(JSON.parse(macs)).toContainEqual({ domain: 'epsilon', macs: ['52:54:00:00:00:0e'] });
      await client.call('domain.destroy', { domain: 'epsilon' });
      await client.call('domain.undefine', { domain: 'epsilon' });
    });

    it('starts the network that a guest names with it, or refuses the guest and says how to', async () => {
      await client.call('network.create', { name: 'lab', mode: 'isolated' });
      const xml = guestXml('gamma', '52:54:00:00:00:0c').replace("network='default'", "network='lab'");
      await client.call('domain.define', { xml });
      const alone = client.call('domain.start', { domain: 'gamma', startNetworks: false });
      await expect(alone).rejects.toMatchObject({
        code: 'network.inactive',
        hint: "start it with 'vireo network start lab'",
      });
      await client.call('domain.start', { domain: 'gamma', paused: true });
      expect(await client.call('network.get', { network: 'lab' })).toMatchObject({ active: true });
      await client.call('domain.destroy', { domain: 'gamma' });
      await client.call('domain.undefine', { domain: 'gamma' });
      await client.call('network.stop', { network: 'lab' });
      await client.call('network.undefine', { network: 'lab' });
    });

    it('is where a new guest of few words goes', async () => {
      await client.call('domain.create', { name: 'delta', memoryBytes: 64 * 2 ** 20 });
      expect(await client.call('domain.get', { domain: 'delta' })).toMatchObject({
        interfaces: [{ type: 'network', source: 'default' }],
      });
      await client.call('domain.undefine', { domain: 'delta' });
    });

    it('leaves nothing of a network that was stopped', async () => {
      for (const domain of ['alpha', 'beta']) await client.call('domain.destroy', { domain });
      expect(ip('-n', here, '-br', 'link')).not.toContain('vnet');
      await client.call('network.stop', { network: 'default' });
      expect(ip('-n', here, '-br', 'link')).not.toContain('virbr');
      expect(inside(here, 'nft', 'list', 'ruleset')).toBe('');
      const commands = ip('netns', 'pids', here).split('\n').filter(Boolean);
      expect(commands.map(Number)).toEqual([daemon.child.pid]);
    });
  },
);

describeWith([], 'a session daemon', () => {
  it('refuses every verb of networks, and says what works instead', async () => {
    const daemon = await TestDaemon.start({ mode: 'session' });
    try {
      const client = await daemon.connect();
      const params: Partial<Record<MethodName, object>> = {
        'network.define': { xml: '<network/>' },
        'network.create': { name: 'a' },
        'network.create-xml': { xml: '<network/>' },
        'network.update': { network: 'a', section: 'dns-txt', command: 'delete', xml: '<txt/>' },
        'network.set-autostart': { network: 'a', autostart: true },
        'network.port-forward.add': { network: 'a', hostPort: 1, guest: 'b', guestPort: 2 },
        'network.port-forward.remove': { network: 'a', hostPort: 1 },
        'network.list': {},
        'network.get-metadata': { network: 'a', uri: 'urn:x' },
        'network.set-title': { network: 'a', title: null },
        'network.set-description': { network: 'a', description: null },
        'network.set-metadata': { network: 'a', uri: 'urn:x', xml: null },
      };
      const verbs = (Object.keys(methods) as MethodName[]).filter((name) => name.startsWith('network.'));
      for (const name of verbs)
        await expect(
          client.call(name as 'network.list', params[name] ?? { network: 'a' }),
        ).rejects.toMatchObject({
          code: 'network.session',
          hint: expect.stringContaining('passt') as unknown,
        });
      await client.close();
    } finally {
      await daemon.remove();
    }
  });
});
