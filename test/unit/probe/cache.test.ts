import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { type CacheOptions, CapabilityCache } from '../../../src/drivers/qemu/probe/cache.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';

let directory: string;
let binary: string;
let probes: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cache-test-'));
  binary = join(directory, 'qemu');
  await writeFile(binary, 'first');
  probes = [];
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function cache(options: Partial<CacheOptions> = {}): CapabilityCache {
  return new CapabilityCache({
    directory: join(directory, 'cache'),
    probe: { timeoutMs: 1, runtimeDirectory: '/nonexistent' },
    log: silentLogger,
    isKvmAccessible: async () => false,
    probeQemu: async (path) => {
      probes.push(path);
      return { format: 1, path, arch: `probe${probes.length}` } as QemuCapabilities;
    },
    ...options,
  });
}

async function cacheFile(): Promise<string> {
  const [name] = await readdir(join(directory, 'cache'));
  return join(directory, 'cache', name ?? '');
}

describe('CapabilityCache', () => {
  it('probes once, for this daemon and the next', async () => {
    const first = cache();
    expect((await first.get(binary)).arch).toBe('probe1');
    expect((await first.get(binary)).arch).toBe('probe1');
    expect((await cache().get(binary)).arch).toBe('probe1');
    expect(probes).toHaveLength(1);
    expect((await stat(await cacheFile())).mode & 0o777).toBe(0o600);
  });

  it('tells whether a binary was probed before, without probing it', async () => {
    const first = cache();
    expect(await first.knows(binary)).toBe(false);
    await first.get(binary);
    expect(await first.knows(binary)).toBe(true);
    expect(await cache().knows(binary)).toBe(true);
    expect(probes).toHaveLength(1);
  });

  it('shares one probe among those who ask at the same time', async () => {
    const one = cache();
    const answers = await Promise.all([one.get(binary), one.get(binary), one.get(binary)]);
    expect(new Set(answers).size).toBe(1);
    expect(probes).toHaveLength(1);
  });

  it('probes again when the binary changes, also behind a running daemon', async () => {
    const one = cache();
    await one.get(binary);
    await writeFile(binary, 'second, longer');
    expect((await one.get(binary)).arch).toBe('probe2');
  });

  it('probes again when only the change time of the binary is another', async () => {
    const one = cache();
    await one.get(binary);
    await utimes(binary, new Date(0), new Date(0));
    expect((await one.get(binary)).arch).toBe('probe2');
  });

  it('probes again when KVM comes within reach', async () => {
    await cache().get(binary);
    expect((await cache({ isKvmAccessible: async () => true }).get(binary)).arch).toBe('probe2');
  });

  it.each<[string, (text: string) => string]>([
    ['torn', (text) => text.slice(0, -20)],
    ['empty', () => ''],
    ['of another format', (text) => text.replace('"format":1', '"format":99')],
    ['not JSON', () => 'PK\u0003\u0004'],
    ['changed in one letter', (text) => text.replace('probe1', 'probeX')],
    ['of null', () => 'null\nnull\n'],
  ])('probes again when the file is %s, and replaces it', async (_, spoil) => {
    await cache().get(binary);
    const file = await cacheFile();
    await writeFile(file, spoil(await readFile(file, 'utf8')));
    expect((await cache().get(binary)).arch).toBe('probe2');
    expect((await cache().get(binary)).arch).toBe('probe2');
  });

  it('works without a place to write to', async () => {
    await writeFile(join(directory, 'file'), '');
    const one = cache({ directory: join(directory, 'file', 'cache') });
    expect((await one.get(binary)).arch).toBe('probe1');
    expect((await one.get(binary)).arch).toBe('probe1');
  });

  it('does not remember a failure', async () => {
    let broken = true;
    const one = cache({
      probeQemu: async (path) => {
        if (broken) throw new VirtError('qemu.probe-failed', { reason: 'hangs' });
        return { path, arch: 'well' } as QemuCapabilities;
      },
    });
    await expect(one.get(binary)).rejects.toMatchObject({ code: 'qemu.probe-failed' });
    broken = false;
    expect((await one.get(binary)).arch).toBe('well');
  });

  it('names a binary that is not there', async () => {
    await expect(cache().get(join(directory, 'missing'))).rejects.toMatchObject({ code: 'file.not-found' });
  });
});
