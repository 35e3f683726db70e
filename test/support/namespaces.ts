/** Network namespaces of tests. */
import { execFileSync } from 'node:child_process';
import { errnoOf } from '../../src/base/errors.ts';

/** What `ip` prints; throws when it fails. */
export const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

/** Makes a namespace with its loopback interface up. */
export function addNamespace(name: string): void {
  ip('netns', 'add', name);
  ip('-n', name, 'link', 'set', 'lo', 'up');
}

/** The processes in a namespace. */
const pidsIn = (name: string): number[] => ip('netns', 'pids', name).split('\n').filter(Boolean).map(Number);

/** Ends what runs in a namespace and deletes it. */
export function removeNamespace(name: string): void {
  for (const pid of pidsIn(name)) endAtOnce(pid);
  ip('netns', 'delete', name);
}

function endAtOnce(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error; // it ended by itself in the meantime
  }
}
