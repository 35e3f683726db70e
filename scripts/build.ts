/**
 * Makes dist/: compiled modules with type declarations (tsc, for programs that import the client), and in place of the
 * two programs' entry modules one bundle each, which start in a fraction of the time and memory.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { execa } from 'execa';

const project = resolve(import.meta.dirname, '..');
const dist = join(project, 'dist');
/** Each with a directory of its own, so that its parts lie where the program does. */
const programs = { daemon: 'src/daemon/main.ts', cli: 'src/cli/main.ts' };

rmSync(dist, { recursive: true, force: true });
await execa(join(project, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json'], {
  cwd: project,
  stdio: 'inherit',
});
for (const [name, entry] of Object.entries(programs))
  await build({
    absWorkingDir: project,
    entryPoints: [entry],
    outdir: join(dist, name),
    bundle: true,
    // What is imported late (import()) is a file of its own, read when it is needed.
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    // koffi is native code with files of its own beside it.
    external: ['koffi'],
    // Some packages are CommonJS inside and call require for Node's own modules.
    banner: {
      js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
    },
    // Less text to keep in memory, with every name left as it is: a stack in the log can be read, and resolved to lines with
    // the map beside it. (keepNames would name functions again each time a closure is made, in the hottest places too.)
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: 'external',
    sourcesContent: false,
    legalComments: 'eof',
    logLevel: 'warning',
  });
// The launchers take dist/ as long as no source is newer than this.
writeFileSync(join(dist, '.built'), '');
