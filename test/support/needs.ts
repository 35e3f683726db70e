/** What a test needs of the machine: without it the test is skipped and says why, under REQUIRE_ALL=1 it fails. */
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe } from 'vitest';

const searchPath = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`.split(delimiter);

export function hasProgram(name: string): boolean {
  return searchPath.some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false; // not in this directory
    }
  });
}

/** Names of needs: `root`, a program, or an absolute path. */
export function missing(needs: readonly string[]): string[] {
  return needs.filter((need) => {
    if (need === 'root') return process.getuid?.() !== 0;
    return need.startsWith('/') ? !existsSync(need) : !hasProgram(need);
  });
}

/**
 * `describe` for tests that need something of the machine: `describeWith(['root', 'qemu-system-x86_64'], 'title', fn)`.
 */
export function describeWith(needs: readonly string[], title: string, body: () => void): void {
  const lacking = missing(needs);
  if (lacking.length === 0) {
    describe(title, body);
    return;
  }
  const why = `needs ${lacking.join(', ')}`;
  if (process.env['REQUIRE_ALL'] === '1')
    throw new Error(`'${title}' ${why}, and REQUIRE_ALL=1 allows no skip`);
  process.stderr.write(`skipped: ${title}: ${why}\n`);
  describe.skip(`${title} (${why})`, body);
}
