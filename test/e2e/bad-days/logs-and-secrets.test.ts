/** Logs stay small whatever a guest writes, and passwords are nowhere but where they belong. */
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { isVirtError } from '../../../src/base/errors.ts';
import { eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { bootSector, writeImage } from '../../support/guest-image.ts';
import { describeWith } from '../../support/needs.ts';
import { collect, diskXml, idleXml } from './domains.ts';

const MiB = 1024 * 1024;

/** Every regular file below a directory. */
function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

describeWith(['root', 'qemu-system-x86_64'], 'a guest that writes without end', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    writeImage(join(daemon.root, 'writes.img'), bootSector.writes);
  });
  afterAll(() => daemon.remove());

  /** Bytes on disk of a log and what was rotated; the largest that was ever seen. */
  async function watch(path: string, isDone: () => boolean): Promise<number> {
    const { dir, base } = { dir: join(path, '..'), base: path.split('/').at(-1) ?? '' };
    const total = () =>
      readdirSync(dir)
        .filter((name) => name.startsWith(base))
        .reduce((sum, name) => sum + (statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0), 0);
    let most = 0;
    await eventually(
      `${path} is rotated`,
      () => {
        most = Math.max(most, total());
        return isDone();
      },
      100_000,
    );
    return most;
  }

  const trace = (domain: string, enable: boolean) =>
    client.call('domain.monitor-command', {
      domain,
      command: 'trace-event-set-state',
      arguments: { name: 'memory_region_ops_write', enable },
    });

  const exists = (path: string) => statSync(path, { throwIfNoEntry: false }) !== undefined;

  it.each(['on', 'off'])('keeps its serial log at 2 MiB and three older ones (append=%s)', async (append) => {
    const logs = mkdtempSync(join(daemon.root, 'logs-'));
    const log = join(logs, 'serial.log');
    const devices = `${diskXml(join(daemon.root, 'writes.img'))}<serial type='null'><log file='${log}' append='${append}'/></serial>`;
    // A little before the limit already, so that the emulated guest needn't write for a minute.
    writeFileSync(log, Buffer.alloc(1.9 * MiB, 'x'));
    for (const index of [0, 1, 2]) writeFileSync(`${log}.${index}`, `older ${index}`);
    await client.call('domain.create-xml', { xml: idleXml('writer', { devices }) });
    const isRotated = () => statSync(`${log}.0`).size > MiB && statSync(log).size > 0;
    const most = await watch(log, isRotated);
    await client.call('domain.destroy', { domain: 'writer' });
    // What it writes in the quarter of a second between two looks comes on top.
    expect(most).toBeLessThan(4 * 2 * MiB + 4 * MiB);
    expect(readdirSync(logs).sort()).toEqual(['serial.log', 'serial.log.0', 'serial.log.1', 'serial.log.2']);
    expect(readFileSync(`${log}.1`, 'utf8')).toBe('older 0');
    expect(readFileSync(`${log}.2`, 'utf8')).toBe('older 1');
    expect(readFileSync(`${log}.0`).every((byte) => byte === 0x78)).toBe(true);
    expect(statSync(log).blocks * 512).toBeGreaterThanOrEqual(statSync(log).size);
  });

  it('keeps the log of its QEMU small too, also after a restart of the daemon', async () => {
    await client.call('domain.create-xml', {
      xml: idleXml('talker', { devices: diskXml(join(daemon.root, 'writes.img')) }),
    });
    await trace('talker', true);
    await client[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    const log = join(daemon.root, 'var/log/vireo/qemu/talker.log');
    // A trace is far faster than any device; the newest part of each round is kept, so two rounds show the rule.
    await watch(log, () => exists(`${log}.1`));
    const startedAt = performance.now();
    await client.call('domain.log', { domain: 'talker' });
    expect(performance.now() - startedAt).toBeLessThan(500);
    await trace('talker', false);
    const sizes = () => ['', '.0', '.1'].map((name) => statSync(`${log}${name}`).size);
    // At most twice the limit is copied aside whole.
    await eventually('all of them are small', () => Math.max(...sizes()) <= 4 * MiB, 10_000);
    expect(readdirSync(join(log, '..')).filter((name) => name.startsWith('talker')).length).toBeLessThan(5);
    await client.call('domain.destroy', { domain: 'talker' });
  });
});

describeWith(['root', 'qemu-system-x86_64'], 'a VNC password', () => {
  const secret = 'S3cr3t,x';
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start({ args: ['--log-level', 'trace'] });
    client = await daemon.connect();
  });
  afterAll(() => daemon.remove());

  const xml = (name: string, password = secret) =>
    idleXml(name, { devices: `<graphics type='vnc' passwd='${password}'/>` });

  it('is in no argv, environment, log, event, answer or error, and in no file that others may read', async () => {
    const seen = await collect(client);
    const answers: unknown[] = [];
    answers.push(await client.call('domain.define', { xml: xml('vnc') }));
    answers.push(await client.call('domain.start', { domain: 'vnc', paused: true }));
    const [pid] = qemuProcesses(daemon.root);
    for (const file of ['cmdline', 'environ'])
      expect(readFileSync(`/proc/${pid}/${file}`, 'utf8')).not.toContain(secret);
    for (const call of [
      () => client.call('domain.get', { domain: 'vnc' }),
      () => client.call('domain.list'),
      () => client.call('domain.xml', { domain: 'vnc' }),
      () => client.call('domain.xml', { domain: 'vnc', inactive: true }),
      () => client.call('domain.command-line', { domain: 'vnc' }),
      () => client.call('domain.log', { domain: 'vnc' }),
    ])
      answers.push(await call());
    expect((await client.call('domain.xml', { domain: 'vnc', secure: true })).xml).toContain(secret);
    const failures = [
      () => client.call('domain.define', { xml: xml('vnc2', `${secret}-too-long`) }),
      () =>
        client.call('domain.define', { xml: xml('vnc3').replace("type='vnc'", "type='vnc' colour='red'") }),
      () => client.call('domain.define', { xml: xml('vnc4').replace('</devices>', '') }),
      () => client.call('domain.create-xml', { xml: xml('vnc') }),
      () =>
        client.call('domain.create-xml', {
          xml: xml('vnc5').replace('</devices>', `${diskXml('/nonexistent')}</devices>`),
        }),
    ];
    for (const [index, failure] of failures.entries()) {
      const error = await failure().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (!isVirtError(error)) throw new Error(`case ${index} was not refused`, { cause: error });
      answers.push({ message: error.message, hint: error.hint, details: error.details });
    }
    await client.call('domain.destroy', { domain: 'vnc' });
    expect(JSON.stringify(answers)).not.toContain(secret);
    expect(JSON.stringify(seen)).not.toContain(secret);
    expect(daemon.stderr.join('')).not.toContain(secret);
    for (const file of filesBelow(daemon.root))
      if (readFileSync(file, 'latin1').includes(secret)) expect(statSync(file).mode & 0o077, file).toBe(0);
    expect(filesBelow(join(daemon.root, 'var/log')).length).toBeGreaterThan(0);
    for (const file of filesBelow(join(daemon.root, 'var/log')))
      expect(readFileSync(file, 'latin1')).not.toContain(secret);
  });

  it('that is empty locks the display and is not taken for none', async () => {
    await client.call('domain.define', { xml: xml('empty', '') });
    await client.call('domain.start', { domain: 'empty', paused: true });
    const answer = await client.call('domain.monitor-command', { domain: 'empty', command: 'query-vnc' });
    expect(answer.return).toMatchObject({ auth: 'vnc' });
    await client.call('domain.destroy', { domain: 'empty' });
  });
});
