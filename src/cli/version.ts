/** The version of this package, from its package.json. */
import { readFileSync } from 'node:fs';
import * as z from 'zod';

// The same distance from src/cli and from dist/cli.
const manifest = new URL('../../package.json', import.meta.url);

export const VERSION = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(manifest, 'utf8')) as unknown).version;
