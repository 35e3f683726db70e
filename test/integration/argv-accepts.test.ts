/** The golden command lines are true: the real QEMU takes them, greets and waits, and takes our set-up commands. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildCommand } from '../../src/drivers/qemu/argv/build.ts';
import type { QemuCommand } from '../../src/drivers/qemu/argv/types.ts';
import { caseNames, complete, context, readCase, recorded } from '../golden/argv/cases.ts';
import { makeFiles, Trial } from '../golden/argv/harness.ts';
import { describeWith } from '../support/needs.ts';

const emulator = '/usr/bin/qemu-system-x86_64';

/**
 * What this host cannot show: KVM, devices of the host, servers that nobody runs here. Each is taken out of the
 * document; what remains is started as it is.
 */
const notHere: readonly (readonly [RegExp, string])[] = [
  [/<domain type='kvm'/, "<domain type='qemu'"],
  [/<cpu mode='(host-passthrough|host-model)'[^>]*?(\/>|>.*?<\/cpu>)/s, ''],
  [/<hyperv .*?<\/hyperv>|<kvm>.*?<\/kvm>|<pvspinlock[^>]*>|<pmu[^>]*>|<ioapic[^>]*>| eoi='on'/gs, ''],
  [/<timer name='(kvmclock|hypervclock|tsc|pit)'[^>]*\/>/g, ''],
  [/<panic model='hyperv'\/>/, ''],
  [/<disk type='(block|nvme|vhostuser|network)'.*?<\/disk>/gs, ''],
  [/<hostdev .*?<\/hostdev>/gs, ''],
  [/<interface type='hostdev'.*?<\/interface>/gs, ''],
  [/<interface type='(vdpa|vhostuser)'.*?<\/interface>/gs, ''],
  [/<interface type='user'>(?:(?!<\/interface>).)*passt.*?<\/interface>/gs, ''],
  [/<driver name='vhost'/, '<driver'],
  [/<hugepages>.*?<\/hugepages>|<locked\/>|<allocation [^>]*\/>/gs, ''],
  [/<filesystem (?:(?!<\/filesystem>).)*<source socket=.*?<\/filesystem>/gs, ''],
  [/<vsock .*?<\/vsock>/gs, ''],
  [/<input type='(passthrough|evdev)'.*?<\/input>/gs, ''],
  [/<smartcard mode='(host|host-certificates)'.*?(<\/smartcard>|\/>)/gs, ''],
  [/<backend type='passthrough'>.*?<\/backend>/s, "<backend type='emulator'/>"],
  [/<graphics type='egl-headless'>.*?<\/graphics>/s, ''],
  [/<audio id='3'.*?<\/audio>/s, ''],
  [/<source path='\/dev\/ttyS0'\/>/, "<source path='/dev/null'/>"],
  [/ eim='on'| rss='on'| rss_hash_report='off'/g, ''],
  [/io='native'|io='io_uring'/g, ''],
  [/cache='none'/g, "cache='writeback'"],
];

describeWith(['root', emulator, 'qemu-img', 'swtpm', '/dev/net/tun'], 'QEMU', () => {
  let root = '';
  const listener = createServer();

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'vireo-argv-'));
    // For the interface that is a client.
    await new Promise<void>((resolve) => listener.listen(5560, '127.0.0.1', resolve));
  });
  afterAll(() => {
    listener.close();
    rmSync(root, { recursive: true, force: true });
  });

  /** The case with every path below the trial's own directory. */
  function commandOf(name: string): QemuCommand {
    const directory = join(root, name);
    let xml = readCase(name);
    for (const [what, instead] of notHere) xml = xml.replace(what, instead);
    xml = xml
      .replace(/'\/(run|img|srv|var|etc)\//g, `'${directory}/$1/`)
      .replace(/>\/(img|var|etc|boot)\//g, `>${directory}/$1/`);
    for (const part of ['run', 'srv/a, b', 'srv/c', 'run/vireo/g/1'])
      mkdirSync(join(directory, part), { recursive: true });
    const capabilities = recorded('7.2');
    return buildCommand(complete(xml, capabilities), capabilities, {
      ...context,
      directory: join(directory, 'run'),
      qmpSocket: join(directory, 'run/qmp.sock'),
      tpmDirectory: join(directory, 'tpm'),
      vhostNet: false,
    });
  }

  test.each(caseNames)('takes %s', async (name) => {
    const command = commandOf(name);
    makeFiles(command);
    const trial = new Trial();
    try {
      expect((await trial.run(command)).status).toBe('prelaunch');
    } finally {
      trial.close();
    }
  });

  test('reads back a name with everything that option strings are made of', async () => {
    const name = `x,process=evil,,y=%s 'q' "d" \\ {"a":1} ü,`;
    const definition = { ...complete(readCase('clock-timezone'), recorded('7.2')), name };
    const directory = mkdtempSync(join(root, 'name-'));
    const command = buildCommand(definition, recorded('7.2'), {
      ...context,
      qmpSocket: join(directory, 'qmp.sock'),
    });
    const trial = new Trial();
    try {
      expect((await trial.run(command)).name).toBe(name);
    } finally {
      trial.close();
    }
  });

  test('is the version that the golden files were recorded for', () => {
    expect(execFileSync(emulator, ['--version'], { encoding: 'utf8' })).toContain('version 7.2');
  });
});
