/** What network commands share: doing a thing to several of them. */
import type { VireoClient } from '../api/client.ts';
import type { Cli } from './cli.ts';
import { exitCodeFor } from './exit-codes.ts';

/**
 * Does the same to several networks, one after the other. A failure is told at once and the others go on; the exit
 * status is that of the first failure. With --json the document is a list with one entry for each that succeeded.
 */
export async function forEachNetwork(
  cli: Cli,
  names: readonly string[],
  work: (
    client: VireoClient,
    network: string,
  ) => Promise<{ readonly document: unknown; readonly said: string }>,
): Promise<void> {
  const done: { readonly document: unknown; readonly said: string }[] = [];
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

/** The help of the argument that names networks. */
export const NETWORK_HELP = 'Name or uuid.';
