import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { emulatorFor, findEmulators } from '../../../src/drivers/qemu/probe/find.ts';

let root: string;
let directories: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'find-test-'));
  directories = [join(root, 'local'), join(root, 'none'), join(root, 'usr')];
  await install('local', 'qemu-system-arm', 0o755);
  await install('usr', 'qemu-system-arm', 0o755);
  await install('usr', 'qemu-system-x86_64', 0o755);
  await install('usr', 'qemu-system-x86_64-microvm', 0o755);
  await install('usr', 'qemu-system-amd64', 0o755);
  await install('usr', 'qemu-system-ppc', 0o644);
  await install('usr', 'qemu-img', 0o755);
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function install(directory: string, name: string, mode: number): Promise<void> {
  await mkdir(join(root, directory), { recursive: true });
  await writeFile(join(root, directory, name), '#!/bin/sh\n');
  await chmod(join(root, directory, name), mode);
}

describe('findEmulators', () => {
  it('finds one executable for each target, the first directory first, and nothing else', async () => {
    expect(await findEmulators({ directories })).toEqual([
      { path: join(root, 'local/qemu-system-arm'), target: 'arm', arch: 'armv7l' },
      { path: join(root, 'usr/qemu-system-x86_64'), target: 'x86_64', arch: 'x86_64' },
    ]);
  });
});

describe('emulatorFor', () => {
  it('takes a wider emulator of the family where the narrow one is missing', async () => {
    expect((await emulatorFor('i686', { directories })).target).toBe('x86_64');
    await install('usr', 'qemu-system-i386', 0o755);
    expect((await emulatorFor('i686', { directories })).target).toBe('i386');
  });

  it('tells what is installed when the wanted one is not', async () => {
    await expect(emulatorFor('s390x', { directories })).rejects.toMatchObject({
      code: 'qemu.missing',
      reason: 'installed emulators are for armv7l, x86_64',
      hint: 'install the package that has qemu-system-s390x',
    });
  });
});
