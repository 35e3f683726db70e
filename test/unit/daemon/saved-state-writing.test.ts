/** Files with saved states: what cannot be written is refused before anything is. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlain, createState } from '../../../src/daemon/services/saved-state-writing.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-state-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const head = { xml: '<domain/>', wasRunning: true };

it("QEMU's sparse form, which would be a plain stream under a wrong label", async () => {
  const unsupported = expect.objectContaining({ code: 'request.unsupported' });
  const path = join(directory, 'state');
  await expect(createState(path, { ...head, format: 'sparse' }, { bypassCache: false })).rejects.toThrow(
    unsupported,
  );
  await expect(createPlain(path, { format: 'sparse', bypassCache: false })).rejects.toThrow(unsupported);
  expect(readdirSync(directory)).toEqual([]);
});

it('a packed state past the page cache', async () => {
  const wanted = createState(join(directory, 'state'), { ...head, format: 'zstd' }, { bypassCache: true });
  await expect(wanted).rejects.toThrow(expect.objectContaining({ code: 'request.invalid' }));
  expect(readdirSync(directory)).toEqual([]);
});
