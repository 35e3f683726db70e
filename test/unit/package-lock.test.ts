/** package-lock.json, as far as npm ci is particular about it. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

interface LockedPackage {
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly os?: readonly string[];
  readonly integrity?: string;
}

const lock = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8')) as {
  readonly packages: Readonly<Record<string, LockedPackage>>;
};
const nameOf = (path: string) => path.replace(/^.*node_modules\//, '');

it('has an entry for every optional package of every platform, without which npm ci refuses to work', () => {
  const locked = new Set(Object.keys(lock.packages).map(nameOf));
  const named = Object.values(lock.packages).flatMap((entry) =>
    Object.keys(entry.optionalDependencies ?? {}),
  );
  expect(named.length).toBeGreaterThan(50);
  expect(named.filter((name) => !locked.has(name))).toEqual([]);
});

it('has the checksum of everything that Linux with glibc would install', () => {
  const unchecked = Object.entries(lock.packages)
    .filter(([path, entry]) => path !== '' && entry.integrity === undefined)
    .filter(([, entry]) => entry.os === undefined || entry.os.includes('linux'))
    .map(([path]) => nameOf(path))
    .filter((name) => /linux-(x64|arm64)(-gnu)?$/.test(name) || !/-linux-|linux-/.test(name));
  expect(unchecked).toEqual([]);
});
