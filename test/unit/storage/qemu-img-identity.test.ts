/** Who qemu-img runs as: whoever may do what it has to do to its files, and nobody with more. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { identityFor } from '../../../src/storage/qemu-img.ts';

async function file(mode: number) {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-identity-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'image');
  writeFileSync(path, '', { mode });
  const handle = await open(path, 'r+');
  onTestFinished(() => handle.close());
  await handle.chmod(mode);
  return handle;
}

const isRoot = process.getuid?.() === 0;

it('is the owner for a file that is written and that everybody may only read', async () => {
  const handle = await file(0o644);
  expect((await identityFor([{ handle, writes: true }]))?.uid).toBe(isRoot ? 0 : undefined);
});

it('is nobody where everybody may do what is to be done', async () => {
  const nobody = isRoot ? 65_534 : undefined;
  expect((await identityFor([{ handle: await file(0o644) }]))?.uid).toBe(nobody);
  expect((await identityFor([{ handle: await file(0o666), writes: true }]))?.uid).toBe(nobody);
});
