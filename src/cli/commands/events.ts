/** `events`: what happens, as it happens. */
import type { EventNotification, EventPattern } from '../../api/index.ts';
import { eventGroups, events } from '../../api/index.ts';
import type { Cli } from '../cli.ts';
import { domainRefOf } from '../domains.ts';
import { eventText } from '../format/event.ts';
import { parseDuration } from '../options/duration.ts';
import { badOption, parseCount } from '../options/fields.ts';
import { type AddCommand, collect } from './command.ts';

interface EventsOptions {
  readonly event?: readonly string[];
  readonly domain?: readonly string[];
  readonly network?: readonly string[];
  readonly pool?: readonly string[];
  readonly count?: string;
  readonly timeout?: string;
}

/** What --event takes. */
const eventPatterns: readonly EventPattern[] = [
  ...(Object.keys(events) as (keyof typeof events)[]),
  ...eventGroups,
];

export const addEvents: AddCommand = (parent, cli) => {
  parent
    .command('events')
    .summary('show events as they happen')
    .description(
      'Shows what happens to domains, networks, storage and other objects, until Ctrl-C. With --json each event is one JSON document on a line of its own.',
    )
    .option(
      '--event <name>',
      `Only this event; ${eventGroups.join(', ')} are groups. May be given several times.`,
      collect,
    )
    .option('--domain <domain>', 'Only events of this domain. May be given several times.', collect)
    .option('--network <network>', 'Only events of this network. May be given several times.', collect)
    .option('--pool <pool>', 'Only events of this pool and its volumes. May be given several times.', collect)
    .option('--count <number>', 'End after this many events.')
    .option('--timeout <time>', 'End after this time.')
    .action((options: EventsOptions) => watch(cli, options));
};

function patternOf(text: string): EventPattern {
  const found = eventPatterns.find((pattern) => pattern === text);
  if (found !== undefined) return found;
  throw badOption('--event', text, 'there is no such event', `the events are ${eventPatterns.join(', ')}`);
}

async function watch(cli: Cli, options: EventsOptions): Promise<void> {
  const patterns = options.event?.map(patternOf);
  const most =
    options.count === undefined ? undefined : parseCount('--count', options.count, { min: 1, max: 1e9 });
  const timeoutMs = options.timeout === undefined ? undefined : parseDuration('--timeout', options.timeout);
  await cli.withClient(async (client) => {
    const domains = await Promise.all((options.domain ?? []).map((name) => domainRefOf(client, name)));
    const stream = await client.subscribe({
      ...(patterns && { events: patterns }),
      ...(domains.length > 0 && { domains }),
      ...(options.network && { networks: [...options.network] }),
      ...(options.pool && { pools: [...options.pool] }),
    });
    let isOver = false;
    const end = () => {
      isOver = true;
      // Closing the connection would do as well, but this way the daemon's answers are seen to the last.
      void stream.close().catch(() => client.close());
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(end, timeoutMs);
    let seen = 0;
    try {
      for await (const event of stream) {
        show(cli, event);
        if (++seen === most) return;
      }
    } catch (error) {
      if (!isOver) throw error;
    } finally {
      clearTimeout(timer);
    }
  });
}

function show(cli: Cli, event: EventNotification): void {
  if (cli.out.isJson) {
    cli.out.jsonLine(event);
    return;
  }
  const time = cli.out.paint('quiet', new Date(event.time).toLocaleTimeString('sv-SE'));
  cli.out.write(`${time} ${cli.out.paint('strong', event.event.padEnd(24))} ${eventText(event)}\n`);
}
