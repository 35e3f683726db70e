/** Names and texts that want to leave a directory, split a line, or become an option of QEMU. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { commandLine, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { idleXml, logLines } from './domains.ts';

/** As an attribute or text of a document. */
const escape = (text: string) =>
  text.replace(/[&<>'"\n\r\t]/g, (character) => `&#${character.charCodeAt(0)};`);

const long = (character: string, count: number) => character.repeat(count);

describeWith(['root', 'qemu-system-x86_64'], 'a hostile client', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start({ args: ['--log-level', 'debug'] });
    client = await daemon.connect();
    await client.call('domain.define', { xml: idleXml('canary') });
  });
  afterAll(() => daemon.remove());

  const badNames: readonly [string, string][] = [
    ['a slash', 'a/b'],
    ['a path', '../../../etc/passwd'],
    ['dots', '..'],
    ['a dot', '.'],
    ['nothing', ''],
    ['blanks', '   '],
    ['a line break', 'a\nb'],
    ['a carriage return', 'a\rb'],
    ['a tab', 'a\tb'],
    ['a line separator', 'a\u2028b'],
    ['a bidi override', 'a\u202eb'],
    ['a bidi isolate', 'a\u2066b'],
    ['C1 controls', 'a\u0085b'],
    ['256 bytes', long('x', 256)],
    ['256 bytes of UTF-8', long('\u00e9', 128)],
    ['another normal form', 'e\u0301'],
  ];
  it.each(badNames)('cannot name a domain with %s, by any way in', async (_, name) => {
    const files = () => readdirSync(join(daemon.root, 'etc/vireo/domains')).length;
    const before = files();
    const xml = idleXml(escape(name));
    await expect(client.call('domain.define', { xml })).rejects.toMatchObject({
      code: expect.stringMatching(/^xml\./),
    });
    await expect(client.call('domain.define', { xml, strict: false })).rejects.toMatchObject({
      code: expect.stringMatching(/^xml\./),
    });
    await expect(client.call('domain.create-xml', { xml })).rejects.toMatchObject({
      code: expect.stringMatching(/^xml\./),
    });
    await expect(client.call('domain.rename', { domain: 'canary', name })).rejects.toMatchObject({
      code: 'request.invalid',
    });
    await expect(
      client.call('domain.create', { name, memoryBytes: 16 * 1024 * 1024, start: false }),
    ).rejects.toMatchObject({ code: 'request.invalid' });
    expect(files()).toBe(before);
  });

  it('cannot put a NUL or a lone surrogate into a document', async () => {
    for (const name of ['a&#0;b', 'a\0b', 'a\ud800b', 'a&#xD800;b'])
      await expect(client.call('domain.define', { xml: idleXml(name) })).rejects.toMatchObject({
        code: expect.stringMatching(/^xml\.|^request\./),
      });
  });

  const oddNames = [
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'a,process=evil',
    'a,,b',
    '-S',
    '--help',
    '$(id)',
    '`id`',
    "it's",
    'a&b<c>"d"',
    '%s%n',
    'a.xml',
    'A.XML',
    'caf\u00e9',
    '\u{1f600}',
    long('x', 255),
  ];
  it.each(oddNames)('may use the odd but harmless name %s, which stays one word everywhere', async (name) => {
    await client.call('domain.define', { xml: idleXml(escape(name)) });
    expect((await client.call('domain.get', { domain: name })).name).toBe(name);
    await client.call('domain.start', { domain: name, paused: true });
    const [pid] = qemuProcesses(daemon.root);
    const argv = commandLine(pid ?? 0);
    // In an option string a comma is doubled (QEMU: qemu_opts_parse).
    expect(argv[argv.indexOf('-name') + 1]).toBe(`guest=${name.replaceAll(',', ',,')},debug-threads=on`);
    const shown = await client.call('domain.list', { active: true });
    expect(shown.domains.map((domain) => domain.name)).toEqual([name]);
    await client.call('domain.log', { domain: name });
    await client.call('domain.destroy', { domain: name });
    await client.call('domain.undefine', { domain: name });
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('adds no option to the command line by any text that reaches it', async () => {
    // Each of them would be an option of its own, or a second property, if something were not quoted.
    const evil = 'x,evil=on,id=evil0" -device evil ,,"';
    const folder = join(daemon.root, 'a,evil=on b');
    mkdirSync(folder);
    const disk = join(folder, 'disk,evil=on "\' -S.img');
    const kernel = join(folder, 'kernel,evil=on');
    writeFileSync(disk, Buffer.alloc(65_536));
    writeFileSync(kernel, Buffer.alloc(4096));
    const text = escape(evil);
    const xml = `<domain type='qemu'><name>${text}</name><title>${text}</title><memory unit='MiB'>16</memory>
      <os><type machine='pc'>hvm</type><kernel>${escape(kernel)}</kernel><cmdline>${text}</cmdline></os>
      <sysinfo type='smbios'><system><entry name='manufacturer'>${text}</entry></system></sysinfo>
      <devices>
        <disk type='file'><driver name='qemu' type='raw'/><source file='${escape(disk)}'/><target dev='vda' bus='virtio'/><serial>${escape('a,evil=on')}</serial></disk>
        <interface type='user'><model type='virtio'/></interface>
        <serial type='file'><source path='${escape(join(folder, 'out,evil=on'))}'/></serial>
        <channel type='unix'><target type='virtio' name='${escape('org,evil=on')}'/></channel>
        <graphics type='vnc' passwd='${escape('a,evil=b')}'/>
      </devices></domain>`;
    let defined = true;
    await client.call('domain.define', { xml }).catch((error: { code: string }) => {
      // Some texts are refused as what they are (a serial number has an alphabet): that is as good.
      expect(['xml.invalid', 'definition.unsupported']).toContain(error.code);
      defined = false;
    });
    const plain = xml
      .replace(/<serial>[^<]*<\/serial>/, '')
      .replace(/<cmdline>[^<]*<\/cmdline>/, `<cmdline>${text}</cmdline>`);
    if (!defined) await client.call('domain.define', { xml: plain });
    const wanted = (await client.call('domain.command-line', { domain: evil })).argv;
    expect(wanted.filter((word) => word === '-device evil' || word === '-S' || word === 'evil0')).toEqual([
      '-S',
    ]);
    await client.call('domain.start', { domain: evil, paused: true });
    const [pid] = qemuProcesses(daemon.root);
    const argv = commandLine(pid ?? 0).filter((word) => word !== '');
    // Every second word is an option of ours, from a closed list; values hold what they were given.
    const flags = argv.slice(1).filter((word) => /^-[a-z]/i.test(word));
    const allowed = new Set(
      (await client.call('domain.command-line', { domain: 'canary' })).argv
        .filter((word) => /^-[a-z]/i.test(word))
        .concat([
          '-add-fd',
          '-blockdev',
          '-netdev',
          '-kernel',
          '-append',
          '-smbios',
          '-vnc',
          '-object',
          '-device',
          '-chardev',
          '-audiodev',
          '-initrd',
          '-drive',
        ]),
    );
    expect(flags.filter((flag) => !allowed.has(flag))).toEqual([]);
    for (const word of argv) {
      // A comma of a text is doubled in option strings, or stands inside a JSON string.
      const options = word.startsWith('{')
        ? Object.keys(JSON.parse(word) as object)
        : word.replaceAll(',,', '').split(',');
      const isText = argv[argv.indexOf(word) - 1] === '-append';
      if (!isText)
        expect(options.some((option) => option.startsWith('evil=') || option === 'evil')).toBe(false);
    }
    expect(argv[argv.indexOf('-append') + 1]).toBe(evil);
    const devices = await client.call('domain.monitor-command', {
      domain: evil,
      command: 'qom-list',
      arguments: { path: '/machine/peripheral' },
    });
    expect(JSON.stringify(devices)).not.toContain('evil');
    await client.call('domain.destroy', { domain: evil });
  });

  it('cannot bring line breaks or controls into texts that reach options, paths or the log', async () => {
    const hostile = ['a\nb', 'a\u0085b', 'a\u001bb'.replace('\u001b', '\u2028')];
    const documents = hostile.flatMap((text) => {
      const value = text.replace('\n', '&#10;');
      return [
        idleXml('h', { devices: `<disk type='file'><source file='/x${value}'/><target dev='vda'/></disk>` }),
        idleXml('h', {
          devices: `<interface type='user'><mac address='52:54:00:00:00:01${value}'/></interface>`,
        }),
        idleXml('h', { devices: `<interface type='bridge'><source bridge='${value}'/></interface>` }),
        idleXml('h', { devices: `<serial type='file'><source path='/x${value}'/></serial>` }),
        idleXml('h', { devices: `<channel type='unix'><target type='virtio' name='${value}'/></channel>` }),
        idleXml('h', { devices: `<emulator>/usr/bin/qemu${value}</emulator>` }),
        idleXml('h', { domain: `<title>${value}</title>` }),
        idleXml('h', { domain: `<cpu mode='custom'><model>${value}</model></cpu>` }),
      ];
    });
    for (const xml of documents) {
      const error = await client.call('domain.define', { xml }).then(
        () => undefined,
        (reason: unknown) => reason as { code: string; message: string },
      );
      expect(error?.code, xml).toMatch(/^(xml\.|definition\.unsupported)/);
      expect(error?.message).not.toMatch(/[\n\u0085\u2028]/);
    }
    await client.call('domain.get', { domain: 'no\nsuch\u001b[31m' }).catch(() => undefined);
  });

  it('is refused DOCTYPE, entities and what is too large or too deep, at once', async () => {
    const file = join(daemon.root, 'secret');
    writeFileSync(file, 'top-secret-text');
    const documents = [
      `<!DOCTYPE domain [<!ENTITY x SYSTEM "file://${file}">]>${idleXml('&x;')}`,
      `<!DOCTYPE domain SYSTEM "file://${file}">${idleXml('x')}`,
      `<!doctype domain>${idleXml('x')}`,
      idleXml('&x;'),
      `<domain>${'<a>'.repeat(5000)}`,
      `<domain ${Array.from({ length: 2000 }, (_, index) => `a${index}='1'`).join(' ')}/>`,
    ];
    for (const xml of documents) {
      const startedAt = performance.now();
      await expect(client.call('domain.define', { xml })).rejects.toMatchObject({
        code: expect.stringMatching(/^xml\./),
        message: expect.not.stringContaining('top-secret'),
      });
      expect(performance.now() - startedAt).toBeLessThan(250);
    }
  });

  it('leaves each line of the logs one line', () => {
    const text = daemon.stderr.join('');
    for (const line of text.split('\n').filter((one) => one !== '')) {
      expect(() => JSON.parse(line) as unknown, line).not.toThrow();
      expect(line).not.toMatch(/[\u0000-\u001f\u007f\u0085\u2028]/);
    }
    expect(logLines(daemon).length).toBeGreaterThan(0);
    const logs = join(daemon.root, 'var/log/vireo/qemu');
    for (const name of readdirSync(logs)) {
      expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9_.:+ -]*\.log$/);
      for (const line of readFileSync(join(logs, name), 'utf8').split('\n'))
        expect(line).not.toMatch(/[\u0000-\u0008\u001b\u0085\u2028]/);
    }
    expect(existsSync(join(daemon.root, 'var/log/vireo/evil'))).toBe(false);
  });
});
