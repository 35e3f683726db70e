import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../../bin', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'vireo-launcher-'));
afterAll(() => rmSync(directory, { recursive: true }));

const install = (path: string, text = ''): string => {
  const file = join(directory, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
};

/** A Node that tells its version, and else its arguments and environment. */
const fakeNode = (version: string) =>
  `#!/bin/sh\nif [ "$1" = --version ]; then echo ${version}; exit; fi\necho "${version} $*" "[\${NODE_OPTIONS-unset}]" $$\n`;

const start = (file: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) =>
  spawnSync(file, args, { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', ...env }, cwd: '/' });

/** A package with our launchers and the given files. */
function makePackage(name: string, files: readonly string[]): string {
  for (const file of files) install(`${name}/${file}`);
  cpSync(bin, join(directory, name, 'bin'), { recursive: true });
  return join(directory, name);
}

describe.each(['vireo', 'vireod'])('bin/%s', (program) => {
  const entry = program === 'vireo' ? 'cli/main' : 'daemon/main';
  const flags = program === 'vireo' ? '--disable-sigusr1' : '--disable-sigusr1 --max-semi-space-size=4';
  let checkout: string;
  beforeAll(() => {
    checkout = makePackage(`checkout-${program}`, ['src/cli/main.ts', 'src/daemon/main.ts']);
    install(`checkout-${program}/node_modules/node/bin/node`, fakeNode('v24.21.0'));
  });

  it('runs the sources with the Node of the package, and keeps its arguments apart', () => {
    const { status, stdout } = start(join(checkout, 'bin', program), ['a b', '*'], {
      NODE_OPTIONS: '--inspect',
    });
    expect(status).toBe(0);
    expect(stdout).toContain(`v24.21.0 ${flags} ${checkout}/src/${entry}.ts a b * [unset]`);
  });

  it('finds the package through symbolic links, relative ones too', () => {
    const link = join(directory, `link-${program}`);
    symlinkSync(`checkout-${program}/bin/${program}`, link);
    symlinkSync(link, join(directory, `second-${program}`));
    expect(start(join(directory, `second-${program}`)).stdout).toContain(`${checkout}/src/${entry}.ts`);
  });

  it('finds the package when it is called by its name', () => {
    const { stdout } = spawnSync('sh', ['-c', program], {
      encoding: 'utf8',
      env: { PATH: `${checkout}/bin:/usr/bin:/bin` },
    });
    expect(stdout).toContain(`${checkout}/src/${entry}.ts`);
  });

  it('runs dist/ below node_modules, where Node strips no types, with the Node beside the package', () => {
    const root = makePackage(`app-${program}/node_modules/vireo`, [`src/${entry}.ts`, `dist/${entry}.js`]);
    install(`app-${program}/node_modules/node/bin/node`, fakeNode('v24.12.0'));
    expect(start(join(root, 'bin', program)).stdout).toContain(`v24.12.0 ${flags} ${root}/dist/${entry}.js`);
  });

  it('runs dist/ when there are no sources', () => {
    const root = makePackage(`dist-${program}`, [`dist/${entry}.js`]);
    install(`dist-${program}/node_modules/node/bin/node`, fakeNode('v24.21.0'));
    expect(start(join(root, 'bin', program)).stdout).toContain(`${root}/dist/${entry}.js`);
  });

  it('becomes Node, so that the process id stays', () => {
    const { stdout } = spawnSync('sh', ['-c', `echo $$; exec ${join(checkout, 'bin', program)}`], {
      encoding: 'utf8',
    });
    const [before, after] = stdout.trim().split('\n');
    expect(after?.split(' ').at(-1)).toBe(before);
  });

  describe('without a Node of its own', () => {
    let bare: string;
    beforeAll(() => {
      bare = join(makePackage(`bare-${program}`, [`src/${entry}.ts`]), 'bin', program);
    });
    const pathWith = (version: string): string => {
      const node = install(`path-${version}/node`, fakeNode(version));
      return `${dirname(node)}:/usr/bin:/bin`;
    };

    it.each(['v24.12.0', 'v24.21.3', 'v26.0.0', 'v100.1.0'])('takes the %s in PATH', (version) => {
      expect(start(bare, [], { PATH: pathWith(version) }).stdout).toContain(`${version} ${flags} `);
    });

    it.each(['v20.20.2', 'v24.11.9', 'v23.99.0', 'nonsense'])(
      'refuses the %s in PATH, and says what to do',
      (version) => {
        const { status, stdout, stderr } = start(bare, [], { PATH: pathWith(version) });
        expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
        expect(stderr).toMatch(/^vireod?: no Node of version 24\.12 or newer was found/);
        expect(stderr).toContain("repair: run 'npm ci' in");
      },
    );

    it('takes the one that VIREO_NODE names, and refuses it when it is too old', () => {
      const good = install('good/node', fakeNode('v25.0.0'));
      const old = install('old/node', fakeNode('v18.0.0'));
      expect(start(bare, [], { VIREO_NODE: good }).stdout).toContain('v25.0.0');
      const refused = start(bare, [], { VIREO_NODE: old });
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain('VIREO_NODE is');
    });
  });

  it('says so when the installation is incomplete', () => {
    const root = makePackage(`empty-${program}`, []);
    const { status, stderr } = start(join(root, 'bin', program));
    expect(status).toBe(1);
    expect(stderr).toContain(`neither dist/${entry}.js nor src/${entry}.ts is there`);
  });
});

describe('bin/vireod', () => {
  it('lets the C library have two arenas, or as many as somebody has asked for', () => {
    const root = makePackage('arenas', ['src/daemon/main.ts']);
    install('arenas/node_modules/node/bin/node', '#!/bin/sh\necho "arenas $MALLOC_ARENA_MAX"\n');
    const program = join(root, 'bin/vireod');
    expect(start(program).stdout).toBe('arenas 2\n');
    expect(start(program, [], { MALLOC_ARENA_MAX: '7' }).stdout).toBe('arenas 7\n');
  });
});

describe('the launchers', () => {
  it('find Node in the same way', () => {
    const body = (program: string) => {
      const text = readFileSync(join(bin, program), 'utf8');
      return text.slice(text.indexOf('# --- the same'), text.lastIndexOf('# ---'));
    };
    expect(body('vireod')).toBe(body('vireo'));
    expect(body('vireo').length).toBeGreaterThan(1000);
  });

  // Three programs' worth of modules from their sources: seconds on a busy machine.
  it('start the real command', { timeout: 60_000 }, () => {
    const { status, stdout } = start(join(bin, 'vireo'), ['--version']);
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });
});
