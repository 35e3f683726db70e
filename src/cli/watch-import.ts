/** Shows how far an import is that a call waits for, and what is done just now. */
import type { VireoClient } from '../api/client.ts';
import type { Cli } from './cli.ts';
import { ProgressLine } from './format/progress.ts';

/** Does `work`, and meanwhile tells the progress of imports into that pool; nothing where nobody watches. */
export async function watchingImport<T>(
  cli: Cli,
  client: VireoClient,
  pool: string,
  work: () => Promise<T>,
): Promise<T> {
  const isWatched = cli.world.stderr.isTTY === true && !cli.out.isJson;
  if (!isWatched) return work();
  const stream = await client.subscribe({ events: ['job.progress'] });
  const progress = new ProgressLine(cli.world.stderr, false);
  const told = (async () => {
    let step: string | null = null;
    for await (const event of stream) {
      if (event.event !== 'job.progress' || event.job !== 'import' || event.object.pool !== pool) continue;
      if (event.step !== step) {
        step = event.step;
        progress.end();
        cli.out.note(`${event.object.name}: ${step ?? 'working'} …`);
      }
      if (event.done !== null) progress.tell(event.done, event.total ?? undefined);
    }
  })();
  try {
    return await work();
  } finally {
    await stream.close();
    await told.catch(() => undefined); // A connection that broke is told by the call itself.
    progress.end();
  }
}
