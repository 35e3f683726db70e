import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Command } from 'commander';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { Cli } from '../../../src/cli/cli.ts';
import { buildProgram } from '../../../src/cli/program.ts';
import { details, FakeDaemon, summary } from './fake-daemon.ts';
import { type CliRun, runCli } from './run-cli.ts';

const daemon = await FakeDaemon.start({});
afterAll(() => daemon[Symbol.asyncDispose]());
beforeEach(() => {
  daemon.calls.length = 0;
  daemon.answers = {};
});

const vireo = (...args: string[]): Promise<CliRun> => runCli(args, { socketPath: daemon.socketPath });
const vireoWithInput = (input: string, ...args: string[]) =>
  runCli(args, { socketPath: daemon.socketPath, stdin: Readable.from([Buffer.from(input)]) });

describe('list', () => {
  it('shows a table of all domains', async () => {
    daemon.answers = {
      'domain.list': () => ({
        domains: [
          summary('web'),
          summary('db', { id: null, state: 'shutoff', active: false, autostart: true, vcpus: 4 }),
        ],
        quarantined: [],
      }),
    };
    const { code, stdout, stderr } = await vireo('list');
    expect(stdout.split('\n')).toEqual([
      'ID   NAME   STATE     VCPUS   MEMORY   TYPE   AUTOSTART',
      ' 1   web    running       2    1 GiB   kvm    no',
      ' -   db     shutoff       4    1 GiB   kvm    yes',
      '',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(daemon.paramsOf('domain.list')).toEqual({});
  });

  it('passes its filters on', async () => {
    daemon.answers = { 'domain.list': () => ({ domains: [], quarantined: [] }) };
    const { stdout } = await vireo(
      'domain',
      'ls',
      '--inactive',
      '--autostart',
      '--transient',
      '--state',
      'shutoff',
    );
    expect(daemon.paramsOf('domain.list')).toEqual({
      active: false,
      autostart: true,
      persistent: false,
      state: 'shutoff',
    });
    expect(stdout).toBe('No domain fits.\n');
  });

  it('warns of definitions that could not be read', async () => {
    const quarantined = [{ file: '/q/x.xml', uuid: null, reason: 'torn', at: '2026-11-21T10:00:00.000Z' }];
    daemon.answers = { 'domain.list': () => ({ domains: [summary('web')], quarantined }) };
    const { code, stdout, stderr } = await vireo('list', '--names');
    expect(stdout).toBe('web\n');
    expect(stderr).toBe('warning: the definition of a domain could not be read: torn (now in /q/x.xml)\n');
    expect(code).toBe(0);
  });

  it('prints one JSON document with --json, wherever that stands', async () => {
    daemon.answers = { 'domain.list': () => ({ domains: [summary('web')], quarantined: [] }) };
    for (const args of [
      ['list', '--json'],
      ['--json', 'list'],
      ['domain', '--json', 'list'],
    ]) {
      const { stdout } = await vireo(...args);
      expect(JSON.parse(stdout)).toMatchObject({ domains: [{ name: 'web' }] });
    }
  });
});

describe('show', () => {
  it('shows facts and devices, with nothing a guest says unescaped', async () => {
    daemon.answers = {
      'domain.get': () =>
        details('web', {
          title: 'Web\u001b[31m',
          disks: [
            {
              target: 'vda',
              alias: 'virtio-disk0',
              device: 'disk',
              bus: 'virtio',
              sourceType: 'file',
              source: '/a.qcow2',
              format: 'qcow2',
              readonly: false,
            },
          ],
          graphics: [{ type: 'vnc', listen: '127.0.0.1', port: 5900, tlsPort: null, socket: null }],
        }),
    };
    const { stdout } = await vireo('show', 'web');
    expect(stdout).toContain('Title:       Web\\x1b[31m\n');
    expect(stdout).toContain('State:       running (booted)\n');
    expect(stdout).toContain('Running for: 2 min\n');
    expect(stdout).toMatch(/^vda +disk +virtio +qcow2 +\/a\.qcow2$/m);
    expect(stdout).toMatch(/^vnc +127\.0\.0\.1:5900$/m);
  });

  it('takes a number as the id of a running domain, unless a domain has that name', async () => {
    daemon.answers = {
      'domain.list': () => ({
        domains: [summary('web', { id: 7 }), summary('8', { id: 9 })],
        quarantined: [],
      }),
      'domain.get': () => details('web'),
    };
    await vireo('show', '7');
    expect(daemon.paramsOf('domain.get')).toEqual({ domain: { id: 7 } });
    await vireo('show', '8');
    expect(daemon.paramsOf('domain.get')).toEqual({ domain: '8' });
    await vireo('show', '10');
    expect(daemon.paramsOf('domain.get')).toEqual({ domain: '10' });
  });
});

describe('failures', () => {
  const notFound = () => {
    throw new VirtError('domain.not-found', {
      wanted: "show 'nix'",
      reason: 'no domain has that name',
      hint: "'vireo list' shows them",
    });
  };

  it('tell reason and repair, and exit with their code', async () => {
    daemon.answers = { 'domain.get': notFound };
    expect(await vireo('show', 'nix')).toEqual({
      code: 3,
      stdout: '',
      stderr: "error: cannot show 'nix': no domain has that name\nrepair: 'vireo list' shows them\n",
    });
  });

  it('are JSON on stderr with --json', async () => {
    daemon.answers = { 'domain.get': notFound };
    const { code, stdout, stderr } = await vireo('--json', 'show', 'nix');
    expect(code).toBe(3);
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({
      error: {
        code: 'domain.not-found',
        reason: 'no domain has that name',
        hint: "'vireo list' shows them",
        exitCode: 3,
      },
    });
  });

  it('of one domain do not keep the others from being done', async () => {
    daemon.answers = {
      'domain.start': ({ domain }: { domain: string }) => {
        if (domain === 'b') throw new VirtError('domain.active', { reason: 'it runs already' });
        return summary(domain);
      },
    };
    const { code, stdout, stderr } = await vireo('start', 'a', 'b', 'c');
    expect(stdout).toBe("Domain 'a' is running.\nDomain 'c' is running.\n");
    expect(stderr).toBe('error: it runs already\n');
    expect(code).toBe(1);
  });

  it.each([
    [['lits'], "unknown command 'lits'", 'did you mean list?'],
    [['list', '--colour'], "unknown option '--colour'", '--help'],
    [['show'], "missing required argument 'domain'", '--help'],
    [['domain', 'create'], "required option '--name <name>' not specified", '--help'],
    [['list', '--state', 'asleep'], "'asleep' is invalid", '--help'],
    [['create', '--name', 'x', '--memory', '512'], 'the size has no unit', '512MiB'],
    [['create', '--name', 'x', '--vcpus', '1.5'], 'not a whole number', undefined],
    [['wait', 'x', '--timeout', 'soon'], 'not a length of time', '30s'],
    [['domain', 'qmp', 'x', 'y', '[]'], 'not a JSON object', '{"key"'],
    [['call', 'domain.nix'], 'there is no such method', 'rpc.discover'],
    [['events', '--event', 'nix'], 'there is no such event', 'domain.started'],
    [['-c', 'test:///default', 'list'], 'neither a connection name nor the absolute path', 'qemu:///system'],
  ])('of the command line exit with 2: %j', async (args, reason, hint) => {
    const { code, stdout, stderr } = await runCli(args, { socketPath: daemon.socketPath });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(reason);
    if (hint !== undefined)
      expect(stderr).toMatch(new RegExp(`repair: .*${hint.replaceAll(/[{}?"]/g, '\\$&')}`));
    expect(daemon.calls).toEqual([]);
  });

  it('of the command line are JSON too', async () => {
    const { code, stderr } = await vireo('show', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'request.invalid', exitCode: 2 } });
  });
});

describe('create', () => {
  it('sends what the options say, and shows warnings on stderr', async () => {
    daemon.answers = {
      'domain.create': () => ({
        domain: summary('web'),
        warnings: ['KVM is not usable; emulating'],
        login: null,
      }),
    };
    const line =
      'domain create --name web --memory 2GiB --vcpus 2 --disk path=x.qcow2,size=10GiB --disk /y.raw,bus=sata ' +
      '--cdrom d.iso --network user,forward=2222:22 --network network=default --kernel k --initrd i --cmdline a=b ' +
      '--graphics vnc --firmware efi --type qemu --start --autostart --title T';
    const { code, stdout, stderr } = await vireo(...line.split(' '));
    expect(daemon.paramsOf('domain.create')).toEqual({
      name: 'web',
      memoryBytes: 2 * 1024 ** 3,
      vcpus: 2,
      disks: [
        { path: '/home/me/x.qcow2', createBytes: 10 * 1024 ** 3, readonly: false },
        { path: '/y.raw', bus: 'sata', readonly: false },
      ],
      cdrom: '/home/me/d.iso',
      networks: [
        {
          type: 'user',
          portForwards: [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 }],
        },
        { type: 'network', source: 'default' },
      ],
      kernel: '/home/me/k',
      initrd: '/home/me/i',
      cmdline: 'a=b',
      graphics: 'vnc',
      firmware: 'efi',
      virtType: 'qemu',
      title: 'T',
      paused: false,
      start: true,
      transient: false,
      autostart: true,
      autodestroy: false,
    });
    expect(stderr).toBe('warning: KVM is not usable; emulating\n');
    expect(stdout).toBe(`Domain 'web' is made (${summary('web').uuid}).\nDomain 'web' is running.\n`);
    expect(code).toBe(0);
  });

  it('says how to start what it made', async () => {
    daemon.answers = {
      'domain.create': () => ({
        domain: summary('my web', { active: false, state: 'shutoff', id: null }),
        warnings: [],
        login: null,
      }),
    };
    const { stdout } = await vireo('create', '--name', 'my web');
    expect(stdout).toContain("Start it with: vireo start 'my web'\n");
  });
});

describe('documents', () => {
  it('are read from a file or standard input, and warn of what was dropped', async () => {
    const file = join(daemon.directory, 'web.xml');
    writeFileSync(file, '<domain/>');
    daemon.answers = {
      'domain.define': () => ({
        domain: summary('web'),
        dropped: ['devices.toaster'],
        warnings: ["there is no network 'lan' yet"],
      }),
    };
    const { stdout, stderr } = await vireo('define', file, '--lenient');
    expect(daemon.paramsOf('domain.define')).toEqual({ xml: '<domain/>', strict: false, startAfter: false });
    expect(stdout).toContain("Domain 'web' is defined");
    expect(stderr).toContain('warning: devices.toaster is not known');
    expect(stderr).toContain("warning: there is no network 'lan' yet");
    await vireoWithInput('<domain> </domain>', 'define', '-', '--start');
    expect(daemon.paramsOf('domain.define')).toEqual({
      xml: '<domain> </domain>',
      strict: true,
      startAfter: true,
    });
  });

  it('that are not there are told without asking the daemon', async () => {
    const { code, stderr } = await vireo('define', 'nix.xml');
    expect(code).toBe(3);
    expect(stderr).toContain('/home/me/nix.xml: no such file or directory');
    expect(daemon.calls).toEqual([]);
  });

  it('of metadata can be set from standard input, shown and removed', async () => {
    daemon.answers = {
      'domain.get-metadata': () => ({ xml: "<a xmlns='u'/>" }),
      'domain.set-metadata': () => ({}),
    };
    expect((await vireo('domain', 'metadata', 'web', 'urn:a')).stdout).toBe("<a xmlns='u'/>\n");
    await vireoWithInput('<a/>', 'domain', 'metadata', 'web', 'urn:a', '--set', '-', '--key', 'app');
    expect(daemon.paramsOf('domain.set-metadata')).toEqual({
      domain: 'web',
      uri: 'urn:a',
      key: 'app',
      xml: '<a/>',
    });
    await vireo('domain', 'metadata', 'web', 'urn:a', '--remove');
    expect(daemon.paramsOf('domain.set-metadata')).toEqual({ domain: 'web', uri: 'urn:a', xml: null });
  });
});

describe('edit', () => {
  const xml = '<domain><name>web</name><uuid>u</uuid></domain>';
  const editor = (script: string): Record<string, string> => {
    const path = join(daemon.directory, 'editor');
    writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { EDITOR: `${path} --wait`, PATH: '/usr/bin:/bin' };
  };
  const edit = (script: string) =>
    runCli(['edit', 'web'], { socketPath: daemon.socketPath, env: editor(script), uid: 0 });

  it('stores what the editor left, from the stored definition with its secrets', async () => {
    daemon.answers = {
      'domain.xml': () => ({ xml }),
      'domain.define': () => ({ domain: summary('web'), dropped: [], warnings: [] }),
    };
    const { code, stdout } = await edit(`sed -i 's|</domain>|<memory>1</memory></domain>|' "$2"`);
    expect(daemon.paramsOf('domain.xml')).toMatchObject({ inactive: true, secure: true });
    expect(daemon.paramsOf('domain.define')).toMatchObject({
      xml: xml.replace('</domain>', '<memory>1</memory></domain>'),
    });
    expect(stdout).toContain('counts from its next start');
    expect(code).toBe(0);
  });

  it('does nothing when nothing was changed', async () => {
    daemon.answers = { 'domain.xml': () => ({ xml }) };
    expect((await edit('exit 0')).stdout).toBe("Nothing was changed in 'web'.\n");
    expect(daemon.asked).toEqual(['domain.xml']);
  });

  it('keeps the text when the definition is refused, and tells where', async () => {
    daemon.answers = {
      'domain.xml': () => ({ xml }),
      'domain.define': () => {
        throw new VirtError('xml.invalid', { reason: 'vcpu must be positive' });
      },
    };
    const { code, stderr } = await edit(`sed -i 's|</domain>|<vcpu>0</vcpu></domain>|' "$2"`);
    expect(code).toBe(1);
    const kept = /your text is in (\S+\.xml)/.exec(stderr)?.[1];
    expect(kept).toBeDefined();
    expect(stderr).toContain('vcpu must be positive');
    expect(readFileSync(kept ?? '', 'utf8')).toContain('<vcpu>0</vcpu>');
  });

  it('refuses to make a second domain by a changed name or uuid', async () => {
    daemon.answers = { 'domain.xml': () => ({ xml }) };
    const { code, stderr } = await edit(`sed -i 's|>web<|>other<|' "$2"`);
    expect(code).toBe(2);
    expect(stderr).toContain('its name was changed from web to other');
    expect(daemon.asked).toEqual(['domain.xml']);
  });

  it('tells of an editor that failed or is not there', async () => {
    daemon.answers = { 'domain.xml': () => ({ xml }) };
    expect((await edit('exit 3')).stderr).toContain('ended with status 3');
    const missing = await runCli(['edit', 'web'], {
      socketPath: daemon.socketPath,
      env: { EDITOR: 'no-such-editor' },
    });
    expect(missing.stderr).toContain("the editor 'no-such-editor' is not installed");
  });
});

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

describe('events', () => {
  const event = (name: string, sequence: number) => ({
    subscription: 's1',
    event: 'domain.started',
    sequence,
    time: '2026-11-21T10:00:00.000Z',
    domain: { uuid: summary(name).uuid, name, id: 1 },
    reason: 'booted',
  });
  const notify = (socket: { write: (text: string) => unknown }, params: unknown) =>
    socket.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'event', params })}\n`);

  it('are shown one a line, as text or JSON, until there were enough', async () => {
    daemon.answers = {
      'event.subscribe': (_params: never, socket) => ({
        subscription: 's1',
        after: () => {
          notify(socket, event('web', 1));
          notify(socket, event('d\u001bb', 2));
        },
      }),
      'event.unsubscribe': () => ({}),
    };
    const text = await vireo('events', '--count', '2', '--domain', 'web', '--event', 'domain.*');
    expect(daemon.paramsOf('event.subscribe')).toEqual({ events: ['domain.*'], domains: ['web'] });
    expect(text.code).toBe(0);
    const lines = text.stdout.split('\n');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d domain\.started +'web' reason=booted$/);
    expect(lines[1]).toContain("'d\\x1bb'");
    const json = await vireo('events', '--count', '2', '--json');
    expect(
      json.stdout
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { sequence: number }).sequence),
    ).toEqual([1, 2]);
  });

  it('end after a time, without an error', async () => {
    daemon.answers = { 'event.subscribe': () => ({ subscription: 's1' }), 'event.unsubscribe': () => ({}) };
    expect(await vireo('events', '--timeout', '50ms')).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('that end because the daemon went away are an error', async () => {
    daemon.answers = {
      'event.subscribe': (_params: never, socket) => ({
        subscription: 's1',
        after: () => setTimeout(() => socket.destroy(), 20),
      }),
    };
    expect((await vireo('events')).code).toBe(4);
  });
});

describe('host and daemon', () => {
  it('check shows what is wrong with its repair, and exits with 1 for a problem', async () => {
    const checks = [
      { id: 'qemu', title: 'QEMU', status: 'ok', detail: '7.2.0', repair: null },
      {
        id: 'kvm',
        title: '/dev/kvm',
        status: 'warning',
        detail: 'missing',
        repair: 'switch on VT-x in the firmware',
      },
    ];
    daemon.answers = { 'host.check': () => ({ checks }) };
    const run = await vireo('host', 'check');
    expect(run.code).toBe(0);
    expect(run.stdout).toBe(
      'ok       QEMU: 7.2.0\nwarning  /dev/kvm: missing\n         repair: switch on VT-x in the firmware\n\n1 ok, 1 warning, 0 problems\n',
    );
    daemon.answers = { 'host.check': () => ({ checks: [{ ...checks[0], status: 'problem' }] }) };
    expect((await vireo('host', 'check', '--json')).code).toBe(1);
  });

  it('ping tells how fast the daemon answers', async () => {
    daemon.answers = { 'daemon.ping': () => ({}) };
    const run = await vireo('daemon', 'ping', '--count', '3', '--json');
    expect(JSON.parse(run.stdout)).toMatchObject({ count: 3 });
    expect(daemon.calls).toHaveLength(3);
  });
});

describe('help', () => {
  const world = {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: {},
    cwd: '/',
    uid: 0,
  };
  const leaves = (command: Command, path: string[] = []): (readonly [string, Command])[] => [
    [path.join(' '), command] as const,
    ...command.commands.flatMap((child) => leaves(child, [...path, child.name()])),
  ];
  const commands = leaves(buildProgram(new Cli(world)));

  it('covers nouns, verbs and short forms', () => {
    const paths = commands.map(([path]) => path);
    for (const path of [
      'run',
      'events',
      'console',
      'list',
      'domain create',
      'domain forward add',
      'host check',
      'daemon info',
      'call',
      'completion',
    ])
      expect(paths).toContain(path);
    expect(paths.length).toBeGreaterThan(60);
  });

  it.each(commands)('of `vireo %s` describes everything', (_path, command) => {
    expect(command.description()).toMatch(/\S.*[.:]/);
    for (const option of command.options)
      expect(option.description, option.flags).toMatch(/\S.*\.$|fallback/);
    for (const argument of command.registeredArguments)
      if (command.name() !== '__complete') expect(argument.description, argument.name()).not.toBe('');
    expect(command.helpInformation()).toContain(`Usage: `);
  });

  it('goes to standard output and exits with 0, also without arguments', async () => {
    for (const args of [[], ['--help'], ['domain', 'create', '--help'], ['help', 'list']]) {
      const run = await runCli(args);
      expect(run).toMatchObject({ code: 0, stderr: '' });
      expect(run.stdout).toContain('Usage: vireo');
    }
    expect((await runCli(['--help'])).stdout).toContain('6    busy, or not done in time');
  });

  it('is shown on stderr for a noun without a verb, with 2', async () => {
    const run = await runCli(['host']);
    expect(run).toMatchObject({ code: 2, stdout: '' });
    expect(run.stderr).toContain('Usage: vireo host');
  });

  it('has a version', async () => {
    expect((await runCli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
