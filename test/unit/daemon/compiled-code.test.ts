/** Where the daemon's compiled code may lie: what is there is run, by root. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { compiledCodeDirectory } from '../../../src/daemon/compiled-code.ts';

const uid = process.getuid?.() ?? 0;
let parent: string;
let cache: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'compiled-code-'));
  cache = join(parent, 'vireo');
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

it('is made for us alone, below a cache directory that is too', () => {
  expect(compiledCodeDirectory(cache, uid)).toBe(join(cache, 'node'));
  expect(statSync(cache).mode & 0o777).toBe(0o700);
  expect(statSync(join(cache, 'node')).mode & 0o777).toBe(0o700);
  expect(compiledCodeDirectory(cache, uid)).toBe(join(cache, 'node'));
});

it('is nowhere when the parent of the cache directory is not there yet', () => {
  expect(compiledCodeDirectory(join(cache, 'deeper'), uid)).toBeUndefined();
});

it("is nowhere that others may write to, that is another's, or that is no directory", () => {
  mkdirSync(join(cache, 'node'), { recursive: true, mode: 0o700 });
  chmodSync(join(cache, 'node'), 0o770);
  expect(compiledCodeDirectory(cache, uid)).toBeUndefined();
  chmodSync(join(cache, 'node'), 0o700);
  expect(compiledCodeDirectory(cache, uid + 1)).toBeUndefined();
  chmodSync(cache, 0o777);
  expect(compiledCodeDirectory(cache, uid)).toBeUndefined();
  chmodSync(cache, 0o700);
  rmSync(join(cache, 'node'), { recursive: true });
  symlinkSync('/tmp', join(cache, 'node'));
  expect(compiledCodeDirectory(cache, uid)).toBeUndefined();
});
