/** The programs where every user can reach them: a checkout below /root is closed to others. */
import { cpSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { project } from './daemon.ts';

/** What the launchers need of a checkout: the built programs, the packages beside them, and Node. */
const parts = [
  'bin',
  'dist',
  'package.json',
  'node_modules/node',
  'node_modules/koffi',
  'node_modules/@koromix',
];

/**
 * The project's directory when everybody may enter it, else a copy of its programs below `directory` (0.2 s, 130 MB).
 * The copy has no sources, so it runs what `npm run build` made last.
 */
export function projectForEverybody(directory: string): string {
  if (isOpen(project)) return project;
  const copy = join(directory, 'vireo');
  for (const part of parts.filter((one) => existsSync(join(project, one)))) {
    mkdirSync(dirname(join(copy, part)), { recursive: true });
    cpSync(join(project, part), join(copy, part), { recursive: true });
  }
  return copy;
}

/** The Node that runs this test where everybody may run it, else a copy of it below `directory`. */
export function nodeForEverybody(directory: string): string {
  if (isOpen(dirname(process.execPath))) return process.execPath;
  const copy = join(directory, 'node');
  if (!existsSync(copy)) cpSync(process.execPath, copy);
  return copy;
}

/** Whether others may pass this directory and all above it. */
function isOpen(directory: string): boolean {
  const above = dirname(directory);
  return (statSync(directory).mode & 0o001) !== 0 && (above === directory || isOpen(above));
}
