/** State files that are torn, foreign, missing or in the way: that one is put aside and named, all others are served. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { collect, idleXml, logLines } from './domains.ts';

const foreignUuid = '00000000-0000-4000-8000-00000000abcd';

describeWith(['root', 'qemu-system-x86_64'], 'state files', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let directory: string;
  beforeEach(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    directory = join(daemon.root, 'etc/vireo/domains');
  });
  afterEach(() => daemon.remove());

  async function define(name: string): Promise<string> {
    const { domain } = await client.call('domain.define', { xml: idleXml(name) });
    return domain.uuid;
  }

  /** Ends the daemon, does something to its files, and starts another. */
  async function restartAfter(change: () => void | Promise<void>): Promise<void> {
    await client[Symbol.asyncDispose]();
    await daemon.end('SIGKILL');
    await change();
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
  }

  const fileOf = (uuid: string) => join(directory, `${uuid}.xml`);

  it('are put aside when torn, truncated, zeroed, foreign, a directory or of a name that is taken; others are served', async () => {
    const uuids: Record<string, string> = {};
    for (const name of ['torn', 'empty', 'zeroed', 'foreign', 'folder', 'renamed', 'good', 'twin'])
      uuids[name] = await define(name);
    const path = (name: string) => fileOf(uuids[name] ?? '');
    await restartAfter(() => {
      truncateSync(path('torn'), Math.floor(readFileSync(path('torn')).length / 2));
      writeFileSync(path('empty'), '');
      writeFileSync(path('zeroed'), Buffer.alloc(2000));
      writeFileSync(path('foreign'), '<network><name>x</name></network>\n');
      rmSync(path('folder'));
      mkdirSync(join(path('folder'), 'inside'), { recursive: true });
      const text = readFileSync(path('twin'), 'utf8');
      writeFileSync(fileOf(foreignUuid), text.replaceAll(uuids['twin'] ?? '?', foreignUuid));
      renameSync(path('renamed'), join(directory, 'not-a-uuid.xml'));
      mkdirSync(join(directory, '.left.vireo-tmp'));
      writeFileSync(join(directory, 'README'), 'mine');
    });
    const list = await client.call('domain.list');
    const names = list.domains.map((domain) => domain.name);
    expect(names).toContain('good');
    expect(names.filter((name) => name === 'twin')).toHaveLength(1);
    expect(names.filter((name) => !['good', 'twin'].includes(name))).toEqual([]);
    expect(list.quarantined).toHaveLength(7);
    expect(list.quarantined.map(({ uuid }) => uuid)).toContain(uuids['torn']);
    for (const { reason, file } of list.quarantined) {
      expect(reason).not.toBe('');
      expect(file.startsWith(join(daemon.root, 'etc/vireo/quarantine/'))).toBe(true);
      expect(logLines(daemon).some((line) => line['quarantine'] === file)).toBe(true);
    }
    expect((await client.call('daemon.info')).counts.quarantined).toBe(7);
    await expect(client.call('domain.start', { domain: uuids['torn'] ?? '' })).rejects.toMatchObject({
      code: 'domain.quarantined',
    });
    expect(readFileSync(join(directory, 'README'), 'utf8')).toBe('mine');
    // It stays known over the next restart, until it is taken away.
    await restartAfter(() => undefined);
    expect((await client.call('domain.list')).quarantined).toHaveLength(7);
    await client.call('domain.define', { xml: idleXml('torn') });
    await client.call('domain.start', { domain: 'good', paused: true });
  });

  it('are read again on SIGHUP: changed and new ones are taken over, a broken one costs nothing but an event', async () => {
    const changed = await define('changed');
    const broken = await define('broken');
    const seen = await collect(client);
    const edited = readFileSync(fileOf(changed), 'utf8');
    writeFileSync(fileOf(changed), edited.replace('</name>', '</name><title>by hand</title>'));
    const whole = readFileSync(fileOf(broken), 'utf8');
    writeFileSync(fileOf(broken), whole.slice(0, whole.length - 30));
    const added = whole.replaceAll(broken, foreignUuid).replaceAll('broken', 'added');
    writeFileSync(fileOf(foreignUuid), added);
    daemon.child.kill('SIGHUP');
    await eventually('the event', () => seen.some(({ event }) => event === 'domain.quarantined'));
    await eventually('the new one', () =>
      seen.some((event) => event.event === 'domain.defined' && event.domain.name === 'added'),
    );
    expect(seen.find(({ event }) => event === 'domain.quarantined')).toMatchObject({
      name: 'broken',
      uuid: broken,
    });
    // The files are read one after another, in the order of their random uuids.
    await eventually(
      'the changed one',
      async () => (await client.call('domain.get', { domain: 'changed' })).title === 'by hand',
    );
    expect((await client.call('domain.get', { domain: 'broken' })).uuid).toBe(broken);
    await eventually(
      'the broken one is written anew',
      () => existsSync(fileOf(broken)) && readFileSync(fileOf(broken), 'utf8') === whole,
    );
    expect((await client.call('domain.list')).quarantined).toHaveLength(1);
  });

  it('that belong to a running guest are not needed to find it again, and no second QEMU is started', async () => {
    const uuid = await define('runs');
    const { id: before } = await client.call('domain.start', { domain: 'runs' });
    const [pid] = qemuProcesses(daemon.root);
    const status = join(daemon.root, 'run/vireo/status', `${uuid}.json`);
    expect(before).toBeGreaterThan(0);
    for (const damage of [
      () => truncateSync(status, 100),
      () => writeFileSync(status, '{}'),
      () => rmSync(status),
    ]) {
      await restartAfter(damage);
      expect(qemuProcesses(daemon.root)).toEqual([pid]);
      expect(await client.call('domain.get', { domain: 'runs' })).toMatchObject({ state: 'running', pid });
      await expect(client.call('domain.start', { domain: 'runs' })).rejects.toMatchObject({
        code: 'domain.active',
      });
    }
    await client.call('domain.suspend', { domain: 'runs' });
    await client.call('domain.destroy', { domain: 'runs' });
    expect(qemuProcesses(daemon.root)).toEqual([]);
    expect(readdirSync(join(daemon.root, 'run/vireo/g'))).toEqual([]);
  });

  it('when lost with the definition too leave the guest alone, named in the log, and its uuid is not started', async () => {
    const uuid = await define('alone');
    const xml = (await client.call('domain.xml', { domain: 'alone', inactive: true })).xml;
    await client.call('domain.start', { domain: 'alone', paused: true });
    const [pid] = qemuProcesses(daemon.root);
    await restartAfter(() => {
      truncateSync(join(daemon.root, 'run/vireo/status', `${uuid}.json`), 10);
      copyFileSync(fileOf(uuid), join(daemon.root, 'kept.xml'));
      rmSync(fileOf(uuid));
    });
    expect(qemuProcesses(daemon.root)).toEqual([pid]);
    expect(logLines(daemon).find((line) => line['uuid'] === uuid && line['pid'] === pid)).toBeDefined();
    await client.call('domain.define', { xml });
    await expect(client.call('domain.start', { domain: 'alone' })).rejects.toMatchObject({
      code: 'domain.state',
      message: expect.stringContaining(String(pid)),
    });
    process.kill(pid ?? 0, 'SIGKILL');
    await eventually('its end', () => qemuProcesses(daemon.root).length === 0);
    await client.call('domain.start', { domain: 'alone', paused: true });
    expect(qemuProcesses(daemon.root)).toHaveLength(1);
  });
});
