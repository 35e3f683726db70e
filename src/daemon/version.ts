/** The version of this daemon, from the package's own description. */
import { readFileSync } from 'node:fs';
import * as z from 'zod';

// Two levels up from src/daemon/ as from dist/daemon/.
const file = new URL('../../package.json', import.meta.url);

export const version: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(file, 'utf8'))).version;
