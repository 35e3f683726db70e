/** Imports go one way: the table of docs/style.md, section 1, held file by file. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '../../src');

/** What each layer may import besides itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  base: [],
  model: ['base'],
  api: ['base', 'model'],
  kvm: ['base', 'model'],
  net: ['base', 'model'],
  storage: ['base', 'model'],
  drivers: ['base', 'model', 'kvm'],
  libvirt: ['base', 'model'],
  daemon: ['base', 'model', 'api', 'libvirt', 'kvm', 'net', 'storage', 'drivers'],
  cli: ['base', 'model', 'api'],
  web: ['base', 'model', 'api'],
};

/** Packages that one file alone (or the files of one directory) may import. */
const owners: Readonly<Record<string, string>> = {
  koffi: 'base/ffi/',
  execa: 'base/exec.ts',
  'fast-xml-parser': 'base/xml/parse.ts',
  pino: 'base/log.ts',
  'pino-pretty': 'base/log.ts',
  'smol-toml': 'daemon/config.ts',
};

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
);

function importsOf(file: string): string[] {
  const text = readFileSync(join(source, file), 'utf8');
  return [...text.matchAll(/(?:^|\n)(?:import|export)[^;'"]*?from '([^']+)'|import\('([^']+)'\)/g)].map(
    (match) => match[1] ?? match[2] ?? '',
  );
}

const isOwner = (file: string, owner: string): boolean =>
  owner.endsWith('/') ? file.startsWith(owner) : file === owner;

const layerOf = (file: string): string => file.split('/')[0] ?? '';

describe('layers', () => {
  it('are all known', () => {
    expect([...new Set(files.map(layerOf))].filter((layer) => allowed[layer] === undefined)).toEqual([]);
  });

  it('import only what stands below them', () => {
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((name) => name.startsWith('.'))
        .map((name) => relative(source, resolve(source, file, '..', name)))
        .filter(
          (target) => layerOf(target) !== layerOf(file) && !allowed[layerOf(file)]?.includes(layerOf(target)),
        )
        .map((target) => `${file} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('leave each package to the one file that owns it', () => {
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((name) => owners[name] !== undefined && !isOwner(file, owners[name]))
        .map((name) => `${file} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  it('never start programs past base/exec.ts and base/spawn.ts', () => {
    expect(
      files.filter((file) => importsOf(file).some((name) => /^(node:)?child_process$/.test(name))),
    ).toEqual([]);
  });

  it('open every file with a sentence that tells what lives in it', () => {
    expect(files.filter((file) => !readFileSync(join(source, file), 'utf8').startsWith('/**'))).toEqual([]);
  });
});
