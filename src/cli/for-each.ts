/** Doing the same to several objects that the command line names. */
import type { VireoClient } from '../api/client.ts';
import type { Cli } from './cli.ts';
import { exitCodeFor } from './exit-codes.ts';

/** What was done to one of them: for programs, and a sentence for people. */
export interface Done {
  readonly document: unknown;
  readonly said: string;
}

/**
 * Does the same to several objects, one after the other. A failure is told at once and the others go on; the exit
 * status is that of the first failure. With --json the document is a list with one entry for each that succeeded.
 */
export async function forEachNamed(
  cli: Cli,
  names: readonly string[],
  work: (client: VireoClient, name: string) => Promise<Done>,
): Promise<void> {
  const done: Done[] = [];
  await cli.withClient(async (client) => {
    for (const name of names) {
      try {
        done.push(await work(client, name));
      } catch (error) {
        cli.out.error(error);
        cli.exitCode ||= exitCodeFor(error);
      }
    }
  });
  cli.out.result(
    done.map((entry) => entry.document),
    () => done.map((entry) => `${entry.said}\n`).join(''),
  );
}
