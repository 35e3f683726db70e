/** Files with saved states: what cannot be written is refused before anything is. */
import { mkdtempSync, readdirSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openForLoading } from '../../../src/daemon/services/saved-state-files.ts';
import { createPlain, createState } from '../../../src/daemon/services/saved-state-writing.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-state-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const head = { xml: '<domain/>', wasRunning: true };

it("QEMU's sparse form in a plain stream, which could not be read again", async () => {
  const unsupported = expect.objectContaining({ code: 'request.unsupported' });
  const path = join(directory, 'state');
  await expect(createPlain(path, { format: 'sparse', bypassCache: false })).rejects.toThrow(unsupported);
  expect(readdirSync(directory)).toEqual([]);
});

it('several channels for one stream', async () => {
  const path = join(directory, 'state');
  const wanted = createState(path, { ...head, format: 'raw' }, { bypassCache: false, channels: 2 });
  await expect(wanted).rejects.toMatchObject({
    code: 'request.invalid',
    reason: expect.stringContaining('sparse'),
  });
  expect(readdirSync(directory)).toEqual([]);
});

it('a sparse state has its place behind the head, and is read from there', async () => {
  const path = join(directory, 'sparse');
  const writer = await createState(path, { ...head, format: 'sparse' }, { bypassCache: false, channels: 3 });
  expect(writer.sparse).toEqual({ offsetBytes: statSync(writer.temporary).size, channels: 3 });
  writeSync(writer.fd, 'STATE', writer.sparse?.offsetBytes);
  await writer.finish();
  const state = await openForLoading(path, { bypassCache: false, channels: 2 });
  expect(state.sparse).toEqual({ offsetBytes: writer.sparse?.offsetBytes, channels: 2 });
  const bytes = Buffer.alloc(5);
  readSync(state.fd, bytes, 0, 5, state.sparse?.offsetBytes ?? 0);
  expect(bytes.toString()).toBe('STATE');
  await state.close();
  rmSync(path);
});

it('a packed state past the page cache', async () => {
  const wanted = createState(join(directory, 'state'), { ...head, format: 'zstd' }, { bypassCache: true });
  await expect(wanted).rejects.toThrow(expect.objectContaining({ code: 'request.invalid' }));
  expect(readdirSync(directory)).toEqual([]);
});
