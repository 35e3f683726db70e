/** What is done to one domain: what the verbs ask of the daemon, and what they say. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { cliRig } from './cli-rig.ts';
import { details, summary } from './fake-daemon.ts';
import { runCli } from './run-cli.ts';

const { daemon, vireo, vireoWithInput } = await cliRig();

describe('delete', () => {
  it('asks first, and refuses where it cannot ask', async () => {
    daemon.answers = { 'domain.get': () => details('web') };
    const { code, stderr } = await vireo('delete', 'web');
    expect(code).toBe(2);
    expect(stderr).toContain('repair: give --yes');
    expect(daemon.asked).toEqual(['domain.get']);
  });

  it('destroys, undefines, and tells which disks are left', async () => {
    const disks = [
      {
        target: 'vda',
        alias: null,
        device: 'disk',
        bus: 'virtio',
        sourceType: 'file',
        source: '/a.qcow2',
        format: 'qcow2',
        readonly: false,
      },
    ];
    daemon.answers = {
      'domain.get': () => details('web', { disks }),
      'domain.destroy': () => ({}),
      'domain.undefine': () => ({ removed: [], kept: [], undo: null }),
    };
    const { stdout } = await vireo('delete', '--yes', 'web');
    expect(daemon.asked).toEqual(['domain.get', 'domain.destroy', 'domain.undefine']);
    expect(stdout).toBe("Domain 'web' is deleted. Its disks were kept: /a.qcow2\n");
  });
});

describe('shutdown', () => {
  it('only asks, unless it is to wait', async () => {
    daemon.answers = { 'domain.shutdown': () => summary('web') };
    expect((await vireo('shutdown', 'web')).stdout).toBe("Domain 'web' was asked to shut down.\n");
    expect(daemon.paramsOf('domain.shutdown')).toEqual({ domain: 'web', mode: 'auto' });
    await vireo('stop', 'web', '--mode', 'acpi', '--timeout', '5s');
    expect(daemon.paramsOf('domain.shutdown')).toEqual({ domain: 'web', mode: 'acpi', timeoutMs: 5000 });
  });

  it('destroys a guest that did not listen, when told so', async () => {
    daemon.answers = {
      'domain.shutdown': () => {
        throw new VirtError('operation.timeout', { reason: 'still on' });
      },
      'domain.destroy': () => ({}),
    };
    const { code, stdout, stderr } = await vireo('shutdown', 'web', '--destroy');
    expect(daemon.asked).toEqual(['domain.shutdown', 'domain.destroy']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "Domain 'web' is off.\n" });
    expect(stderr).toContain('warning:');
    expect((await vireo('shutdown', 'web', '--wait')).code).toBe(6);
  });
});

describe('small verbs', () => {
  it.each([
    [['destroy', 'web', '--graceful'], 'domain.destroy', { domain: 'web', graceful: true }],
    [['suspend', 'web'], 'domain.suspend', { domain: 'web' }],
    [['resume', 'web'], 'domain.resume', { domain: 'web' }],
    [['reboot', 'web', '--mode', 'agent'], 'domain.reboot', { domain: 'web', mode: 'agent' }],
    [['domain', 'reset', 'web'], 'domain.reset', { domain: 'web' }],
    [['domain', 'nmi', 'web'], 'domain.inject-nmi', { domain: 'web' }],
    [
      ['undefine', 'web', '--nvram', 'keep'],
      'domain.undefine',
      { domain: 'web', nvram: 'keep', removeStorage: false, forgetSnapshots: false },
    ],
    [['autostart', 'web'], 'domain.set-autostart', { domain: 'web', autostart: true, once: false }],
    [['autostart', 'web', '--off'], 'domain.set-autostart', { domain: 'web', autostart: false, once: false }],
    [['autostart', 'web', '--once'], 'domain.set-autostart', { domain: 'web', autostart: true, once: true }],
    [['rename', 'web', 'www'], 'domain.rename', { domain: 'web', name: 'www' }],
    [['domain', 'title', 'web', 'Hello'], 'domain.set-title', { domain: 'web', title: 'Hello' }],
    [['domain', 'title', 'web', '--remove'], 'domain.set-title', { domain: 'web', title: null }],
    [['domain', 'description', 'web', ''], 'domain.set-description', { domain: 'web', description: '' }],
    [['log', 'web', '--max', '1KiB'], 'domain.log', { domain: 'web', source: 'qemu', maxBytes: 1024 }],
    [['log', 'web', '--console'], 'domain.log', { domain: 'web', source: 'console', maxBytes: 65_536 }],
    [
      ['wait', 'web', '--for', 'running', '--timeout', '3'],
      'domain.wait',
      { domain: 'web', until: 'running', timeoutMs: 3000 },
    ],
    [
      ['domain', 'send-key', 'web', 'ctrl+alt', 'delete'],
      'domain.send-key',
      { domain: 'web', keys: ['ctrl', 'alt', 'delete'], codeset: 'qcode', holdMs: 100 },
    ],
    [
      ['domain', 'send-key', 'web', '30', '--codeset', 'linux', '--hold', '1s'],
      'domain.send-key',
      { domain: 'web', keys: [30], codeset: 'linux', holdMs: 1000 },
    ],
    [
      ['domain', 'qmp', 'web', 'human-monitor-command', '{"command-line":"info"}'],
      'domain.monitor-command',
      { domain: 'web', command: 'human-monitor-command', arguments: { 'command-line': 'info' } },
    ],
    [
      ['domain', 'create-xml', '-', '--paused'],
      'domain.create-xml',
      { xml: '<x/>', strict: true, paused: true, autodestroy: false },
    ],
    [
      ['xml', 'web', '--inactive', '--secure'],
      'domain.xml',
      { domain: 'web', inactive: true, secure: true, migratable: false },
    ],
    [
      ['forward', 'add', 'web', '8080:80'],
      'domain.port-forward.add',
      { domain: 'web', protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 },
    ],
    [
      ['forward', 'remove', 'web', '8080'],
      'domain.port-forward.remove',
      { domain: 'web', protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080 },
    ],
    [
      ['forward', 'remove', 'web', 'udp:0.0.0.0:53:10.0.2.15:53', '--interface', 'net0'],
      'domain.port-forward.remove',
      { domain: 'web', protocol: 'udp', hostAddress: '0.0.0.0', hostPort: 53, interface: 'net0' },
    ],
    [['daemon', 'log-level', 'debug'], 'daemon.set-log-level', { level: 'debug' }],
    [
      ['host', 'domain-capabilities', '--emulator', 'q', '--type', 'kvm'],
      'host.domain-capabilities',
      { emulator: '/home/me/q', virtType: 'kvm' },
    ],
    [['call', 'domain.job', '{"domain":"web"}'], 'domain.job', { domain: 'web' }],
  ] as const)('%j', async (args, method, params) => {
    const forward = {
      interface: 'net0',
      protocol: 'tcp',
      hostAddress: '127.0.0.1',
      hostPort: 8080,
      guestAddress: '',
      guestPort: 80,
    };
    daemon.answers = {
      'domain.get': () => details('web'),
      'domain.destroy': () => ({}),
      'domain.suspend': () => summary('web', { state: 'paused' }),
      'domain.resume': () => summary('web'),
      'domain.reboot': () => ({}),
      'domain.reset': () => ({}),
      'domain.inject-nmi': () => ({}),
      'domain.undefine': () => ({ removed: [], kept: [], undo: null }),
      'domain.set-autostart': () => ({}),
      'domain.rename': () => summary('www'),
      'domain.set-title': () => ({}),
      'domain.set-description': () => ({}),
      'domain.log': () => ({ text: 'qemu: hello\n' }),
      'domain.wait': () => ({ ...summary('web'), reached: null }),
      'domain.send-key': () => ({}),
      'domain.monitor-command': () => ({ return: {} }),
      'domain.create-xml': () => ({ domain: summary('web'), dropped: [] }),
      'domain.xml': () => ({ xml: '<domain/>\n' }),
      'domain.port-forward.add': () => forward,
      'domain.port-forward.remove': () => ({}),
      'daemon.set-log-level': () => ({ previous: 'info' }),
      'host.domain-capabilities': () => ({ xml: '<domainCapabilities/>' }),
      'domain.job': () => ({ job: null }),
    };
    const { code, stderr } = await vireoWithInput('<x/>', ...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(daemon.paramsOf(method)).toEqual(params);
  });
});

describe('screenshot', () => {
  const picture = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

  it('writes the picture to a file, or to standard output', async () => {
    daemon.answers = {
      'domain.screenshot': () => ({ mime: 'image/png', base64: picture.toString('base64') }),
    };
    const file = join(daemon.directory, 'shot.png');
    expect((await vireo('screenshot', 'web', file)).stdout).toBe(`${file} (image/png, 4 bytes)\n`);
    expect(readFileSync(file)).toEqual(picture);
    expect((await vireo('screenshot', 'web', '-')).code).toBe(0);
  });

  it('names the file after the domain when it has to', async () => {
    daemon.answers = { 'domain.screenshot': () => ({ mime: 'image/png', base64: '' }) };
    const run = await runCli(['screenshot', 'a b/..'], {
      socketPath: daemon.socketPath,
      cwd: daemon.directory,
    });
    expect(run.stdout).toMatch(/\/a_b_\.\.-\d{4}-\d\d-\d\dT\d{6}\.png /);
  });
});
