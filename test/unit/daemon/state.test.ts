/** Stored definitions and runtime status: what is broken is put aside and named, everything else is served. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import {
  DefinitionStore,
  formatStored,
  parseStored,
  type StoredDefinition,
} from '../../../src/daemon/state/definitions.ts';
import { NetworkStatusStore } from '../../../src/daemon/state/network-status.ts';
import { PoolStatusStore } from '../../../src/daemon/state/pool-status.ts';
import { type RuntimeStatus, RuntimeStore } from '../../../src/daemon/state/runtime.ts';

const uuid = (last: number) => `00000000-0000-4000-8000-${String(last).padStart(12, '0')}`;
const definition = (last: number, change: Partial<StoredDefinition> = {}): StoredDefinition => ({
  uuid: uuid(last),
  name: `d${last}`,
  autostart: false,
  xml: `<domain type='qemu'>\n  <name>d${last}</name>\n</domain>\n`,
  ...change,
});

let root: string;
let store: DefinitionStore;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vireo-state-'));
  store = new DefinitionStore({
    directory: join(root, 'domains'),
    quarantine: join(root, 'q'),
    log: silentLogger,
  });
});
afterEach(() => rmSync(root, { recursive: true }));

describe('a stored definition', () => {
  it('comes back as it was, with what a newer version had added', async () => {
    const saved = definition(1, { autostart: true, extra: { later: [1] }, facts: { vcpus: 2 } });
    await store.save(saved);
    expect(store.loadAll().definitions).toEqual([{ ...saved, isEdited: false }]);
  });

  it('keeps its header one comment whatever the name is', () => {
    const saved = definition(1, { name: 'a--b-->c---' });
    const text = formatStored(saved);
    expect(text.split('\n')[0]?.slice(4, -3)).not.toContain('--');
    expect(parseStored(text, saved.uuid).name).toBe('a--b-->c---');
  });

  it('is told from one that was edited by hand', async () => {
    await store.save(definition(1));
    const path = join(root, 'domains', `${uuid(1)}.xml`);
    writeFileSync(path, readFileSync(path, 'utf8').replace('qemu', 'kvm'));
    expect(store.loadAll().definitions[0]).toMatchObject({ name: 'd1', isEdited: true });
  });

  it('survives any truncation, bit flip or foreign content of its neighbours', async () => {
    await store.save(definition(1));
    await store.save(definition(2));
    const path = join(root, 'domains', `${uuid(1)}.xml`);
    const whole = readFileSync(path);
    const broken = [
      whole.subarray(0, 0),
      whole.subarray(0, 20),
      Buffer.alloc(whole.length),
      Buffer.from('hello'),
      Buffer.from(formatStored(definition(3))),
      Buffer.from(whole.toString().replace('"format":1', '"format":99')),
      Buffer.from(whole.toString().replace('"name":"d1"', '"name":"d2"')),
    ];
    for (const [index, bytes] of broken.entries()) {
      writeFileSync(path, bytes);
      const { definitions, quarantined } = store.loadAll();
      const names = definitions.filter((one) => !one.isEdited).map((one) => one.name);
      expect(names, `case ${index}`).toContain('d2');
      expect(names).not.toContain('d1');
      expect(quarantined.length + definitions.filter((one) => one.isEdited).length, `case ${index}`).toBe(1);
    }
  });

  it('is remembered in the quarantine with its reason, name and uuid until it is taken away', async () => {
    await store.save(definition(1));
    const aside = store.quarantine(`${uuid(1)}.xml`, 'because');
    expect(aside).toMatchObject({ reason: 'because', name: 'd1', uuid: uuid(1) });
    expect(store.quarantined()).toEqual([aside]);
    expect(store.loadAll()).toEqual({ definitions: [], quarantined: [] });
    rmSync(aside.path);
    expect(store.quarantined()).toEqual([]);
  });

  it('may have a directory, a temporary file or an editor backup lying next to it', async () => {
    await store.save(definition(1));
    mkdirSync(join(root, 'domains', `${uuid(2)}.xml`));
    writeFileSync(join(root, 'domains', '.abc.vireo-tmp'), 'half');
    writeFileSync(join(root, 'domains', 'x.xml~'), 'backup');
    const { definitions, quarantined } = store.loadAll();
    expect(definitions.map((one) => one.name)).toEqual(['d1']);
    expect(quarantined.map((one) => one.reason)).toEqual(['it is not a regular file']);
    expect(readdirSync(join(root, 'domains')).sort()).toEqual([`${uuid(1)}.xml`, 'x.xml~'].sort());
  });
});

const status = (last: number): RuntimeStatus => ({
  format: 1,
  uuid: uuid(last),
  name: `d${last}`,
  id: last,
  phase: 'running',
  persistent: true,
  autodestroy: false,
  xml: '<domain/>',
  state: 'running',
  reason: 'booted',
});

describe('runtime status', () => {
  it('is written in the order of the calls: a late one neither comes back after the removal nor hides the next', async () => {
    const runtime = new RuntimeStore({ directory: join(root, 'status'), log: silentLogger });
    let isLive = true;
    const late = Array.from({ length: 20 }, () =>
      runtime.update(uuid(1), () => (isLive ? status(1) : undefined)),
    );
    const gone = runtime.remove(uuid(1));
    const next = runtime.save({ ...status(1), phase: 'starting', id: 7 });
    isLive = false;
    await Promise.all([...late, gone]);
    await next;
    expect(runtime.loadAll()).toMatchObject([{ phase: 'starting', id: 7 }]);
  });

  it('is not written again while it says the same, but when its file is gone', async () => {
    const runtime = new RuntimeStore({ directory: join(root, 'status'), log: silentLogger });
    const path = join(root, 'status', `${uuid(1)}.json`);
    runtime.loadAll();
    await runtime.save(status(1));
    const { ino } = statSync(path);
    await runtime.save(status(1));
    expect(statSync(path).ino).toBe(ino);
    await runtime.save({ ...status(1), id: 7 });
    await runtime.save(status(1));
    expect(runtime.loadAll()).toMatchObject([{ id: status(1).id }]);
    rmSync(path);
    await runtime.save(status(1));
    expect(runtime.loadAll()).toHaveLength(1);
    await runtime.remove(uuid(1));
    await runtime.save(status(1));
    expect(runtime.loadAll()).toHaveLength(1);
  });

  it('puts a broken file aside even when one was put aside before, and a directory in its place', async () => {
    const runtime = new RuntimeStore({ directory: join(root, 'status'), log: silentLogger });
    for (let round = 0; round < 3; round++) {
      mkdirSync(join(root, 'status', `${uuid(1)}.json`, 'inside'), { recursive: true });
      expect(runtime.loadAll()).toEqual([]);
      await new Promise((done) => setTimeout(done, 2));
    }
    await runtime.save(status(1));
    expect(runtime.loadAll()).toHaveLength(1);
  });

  it('that cannot be written says so to its caller, and the next has its turn', async () => {
    const runtime = new RuntimeStore({ directory: join(root, 'status'), log: silentLogger });
    mkdirSync(join(root, 'status', `${uuid(1)}.json`, 'inside'), { recursive: true });
    await expect(runtime.save(status(1))).rejects.toMatchObject({ code: 'file.failed' });
    rmSync(join(root, 'status'), { recursive: true });
    await runtime.save(status(1));
    expect(runtime.loadAll()).toHaveLength(1);
  });

  it('keeps all that is known of helper processes', async () => {
    const runtime = new RuntimeStore({ directory: join(root, 'status'), log: silentLogger });
    const helpers = [
      { kind: 'passt', alias: 'net1', pid: 7, startTimeTicks: '12' },
      { kind: 'swtpm', pid: 8, startTimeTicks: '13' },
    ];
    const record = {
      pid: 6,
      startTimeTicks: '11',
      qemuPath: '/usr/bin/qemu-system-x86_64',
      directory: '/run/vireo/g/1-a',
      qmpSocket: '/run/vireo/g/1-a/qmp',
      ptys: {},
      sockets: {},
      startedAtMs: 1,
      logPath: '/var/log/vireo/qemu/a.log',
      helpers,
    };
    await runtime.save({ ...status(1), record });
    expect(runtime.loadAll()[0]?.record?.helpers).toEqual(helpers);
  });

  it('is read back, broken files are put aside', async () => {
    const runtime = new RuntimeStore({ directory: join(root, 'status'), log: silentLogger });
    await runtime.save(status(1));
    await runtime.save({ ...status(2), later: true });
    writeFileSync(join(root, 'status', `${uuid(3)}.json`), '{"format":1');
    writeFileSync(join(root, 'status', `${uuid(4)}.json`), JSON.stringify(status(5)));
    expect(runtime.loadAll().map((one) => [one.id, one['later']])).toEqual([
      [1, undefined],
      [2, true],
    ]);
    expect(readdirSync(join(root, 'status')).filter((name) => name.endsWith('.broken'))).toHaveLength(2);
    await runtime.remove(uuid(1));
    await runtime.remove(uuid(1));
    expect(runtime.loadAll().map((one) => one.id)).toEqual([2]);
  });

  it('is read back for UUIDs of no version of RFC 9562, which people write by hand', async () => {
    const options = { directory: join(root, 'status'), log: silentLogger };
    const handMade = '11111111-1111-1111-1111-111111111111';
    const other = {
      format: 1,
      uuid: handMade,
      name: 'a',
      persistent: true,
      startedAtMs: 1,
      xml: '<a/>',
    } as const;
    const runtime = new RuntimeStore(options);
    await runtime.save({ ...status(1), uuid: handMade });
    expect(runtime.loadAll()).toHaveLength(1);
    const networks = new NetworkStatusStore(options);
    await networks.save({ ...other, phase: 'active' });
    expect(networks.loadAll()).toHaveLength(1);
    const pools = new PoolStatusStore(options);
    await pools.save(other);
    expect(pools.loadAll()).toHaveLength(1);
  });
});
