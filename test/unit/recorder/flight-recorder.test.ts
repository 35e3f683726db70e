/** The flight recorder: bounded in memory and on disk, and readable after a daemon that was killed. */
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { cleanEntries } from '../../../src/daemon/recorder/clean-entries.ts';
import { FlightRecorder } from '../../../src/daemon/recorder/flight-recorder.ts';
import { RecordFiles } from '../../../src/daemon/recorder/record-files.ts';
import { noteReply } from '../../../src/daemon/recorder/sources.ts';

const uuid = '6d2f1a3e-4b5c-4d6e-8f70-123456789abc';

function rig() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-flight-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const make = (at = directory) => new FlightRecorder({ files: new RecordFiles(at), log: silentLogger });
  return { directory, make, files: new RecordFiles(directory) };
}

describe('the flight recorder', () => {
  it('gives what was noted, in order, also to the next daemon', async () => {
    const { make } = rig();
    const first = make();
    first.note(uuid, 'call', 'domain.start', { uid: 0 });
    first.note(uuid, 'event', 'domain.started');
    await first.flush();
    first.note(uuid, 'qmp', 'STOP');
    expect((await first.read(uuid, 10)).map(({ text }) => text)).toEqual([
      'domain.start',
      'domain.started',
      'STOP',
    ]);
    expect(await make().read(uuid, 2)).toMatchObject([{ kind: 'event' }, { kind: 'qmp', text: 'STOP' }]);
  });

  it('counts what is said again and again', async () => {
    const recorder = rig().make();
    for (let i = 0; i < 1000; i++) recorder.note(uuid, 'qmp', 'BLOCK_IO_ERROR');
    expect(await recorder.read(uuid, 10)).toMatchObject([{ text: 'BLOCK_IO_ERROR', times: 1000 }]);
  });

  it('keeps two halves of 64 KiB, the newest entries whole', async () => {
    const { make, directory } = rig();
    const recorder = make();
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 100; i++)
        recorder.note(uuid, 'qmp', `round ${round} entry ${i}`, { filler: 'x'.repeat(40) });
      await recorder.flush();
    }
    const bytes = readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
    expect(bytes).toBeLessThan(2 * 64 * 1024 + 128 * 200);
    expect((await recorder.read(uuid, 1)).at(-1)?.text).toBe('round 39 entry 99');
  });

  it('leaves a torn line out', async () => {
    const { make, directory } = rig();
    const recorder = make();
    recorder.note(uuid, 'event', 'whole');
    await recorder.flush();
    appendFileSync(join(directory, `${uuid}.new`), '{"at":17,"kind":"ev');
    expect(await recorder.read(uuid, 10)).toMatchObject([{ text: 'whole' }]);
  });

  it('holds on to a bounded number of entries while the disk takes none', async () => {
    const { make, directory } = rig();
    writeFileSync(join(directory, 'file'), '');
    const recorder = make(join(directory, 'file'));
    for (let i = 0; i < 500; i++) recorder.note(uuid, 'qmp', `entry ${i}`);
    await recorder.flush();
    for (let i = 500; i < 700; i++) recorder.note(uuid, 'qmp', `entry ${i}`);
    await recorder.flush();
    rmSync(join(directory, 'file'));
    const entries = await recorder.read(uuid, 1000);
    expect(entries).toHaveLength(128);
    expect(entries.at(-1)?.text).toBe('entry 699');
  });

  it('takes away records of guests that have been gone for a week', async () => {
    const { make, directory, files } = rig();
    const other = uuid.replace('6d', '7d');
    const recorder = make();
    recorder.note(uuid, 'event', 'a');
    recorder.note(other, 'event', 'b');
    await recorder.flush();
    const old = Date.now() / 1000 - 8 * 24 * 3600;
    for (const name of readdirSync(directory)) utimesSync(join(directory, name), old, old);
    await files.sweep((known) => known === uuid);
    expect(readdirSync(directory)).toEqual([`${uuid}.new`]);
  });

  it('notes of a monitor command what it names, never what it carries', async () => {
    const recorder = rig().make();
    const args = { id: 'vnc', protocol: 'vnc', password: 'hunter2', data: 'x' };
    noteReply(recorder, uuid, { command: 'set_password', args, ms: 1.23, problem: undefined });
    noteReply(recorder, uuid, { command: 'query-status', args: undefined, ms: 1, problem: undefined });
    noteReply(recorder, uuid, { command: 'query-block', args: undefined, ms: 1500, problem: undefined });
    noteReply(recorder, uuid, { command: 'device_del', args: { id: 'net0' }, ms: 2, problem: 'not found' });
    expect(await recorder.read(uuid, 10)).toMatchObject([
      { text: 'set_password', facts: { ms: 1.2, id: 'vnc', protocol: 'vnc' } },
      { text: 'query-block', facts: { ms: 1500 } },
      { text: 'device_del', facts: { ms: 2, id: 'net0', error: 'not found' } },
    ]);
    expect(JSON.stringify(await recorder.read(uuid, 10))).not.toContain('hunter2');
  });
});

describe('entries that quote a definition', () => {
  const xml = `<domain type='qemu'><name>web</name><devices><disk type='network'><source protocol='http' name='a?tok=geheim-1'>
    <cookies><cookie name='c'>geheim-2</cookie></cookies></source><target dev='vda'/></disk></devices></domain>`;
  const said = '-blockdev {"url":"http://a?tok=geheim-1","cookie":"c=geheim-2"}: Unknown driver';

  it('are written without what is secret in it, however deep', async () => {
    const { directory, files } = rig();
    const recorder = new FlightRecorder({
      ...{ files, log: silentLogger },
      clean: (_uuid, entries) => cleanEntries(entries, { xml, live: undefined }),
    });
    recorder.note(uuid, 'call', 'domain.start', { uid: 0, error: said });
    recorder.note(uuid, 'event', 'job.ended', { error: { code: 'x', reason: said } });
    recorder.note(uuid, 'qmp', 'blockdev-add', { id: 'geheim-2', ms: 1 });
    await recorder.flush();
    const text = readFileSync(join(directory, `${uuid}.new`), 'utf8');
    expect(text.match(/geheim-\d/g)).toEqual(['geheim-2']); // a name alone
    expect(text.match(/Unknown driver/g)).toHaveLength(2);
  });

  it('of a domain that is gone are cleaned of what is called like a secret', () => {
    const [entry] = cleanEntries(
      [{ atMs: 1, kind: 'call', text: 'domain.start', facts: { error: said } }],
      undefined,
    );
    expect(JSON.stringify(entry)).not.toContain('geheim-2');
  });
});
