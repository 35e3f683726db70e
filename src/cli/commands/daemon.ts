/** `daemon info|ping|log-level`, and `call` for any method of the API. */
import { type Command, Option } from 'commander';
import { type MethodName, methods, type Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Output } from '../format/output.ts';
import { formatDuration } from '../options/duration.ts';
import { badOption, parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { parseJsonObject } from './domain-inspect.ts';

export const addDaemon: AddCommand = (parent, cli) => {
  const daemon = parent.command('daemon').summary('the daemon itself').description('Looks at the daemon.');
  daemon
    .command('info')
    .summary('version, paths and counts')
    .description(methodSummary('daemon.info'))
    .action(async () => {
      const info = await cli.withClient((client) => client.call('daemon.info', {}));
      cli.out.result(info, () => infoFacts(cli.out, info));
    });
  addPing(daemon, cli);
  daemon
    .command('log-level')
    .summary('change what the daemon logs')
    .description(methodSummary('daemon.set-log-level'))
    .argument('<level>', levels.join(', '))
    .action(async (text: string) => {
      const level = levels.find((candidate) => candidate === text);
      if (level === undefined)
        throw badOption('the log level', text, 'there is no such level', `it can be ${levels.join(', ')}`);
      const result = await cli.withClient((client) => client.call('daemon.set-log-level', { level }));
      cli.out.result(result, () => `The log level is ${level} (was ${result.previous}).\n`);
    });
};

const levels = [
  'fatal',
  'error',
  'warn',
  'info',
  'debug',
  'trace',
  'silent',
] as const satisfies Result<'daemon.info'>['logLevel'][];

function infoFacts(out: Output, info: Result<'daemon.info'>): string {
  const { counts } = info;
  return out.facts([
    ['Version', info.version, 'strong'],
    ['Mode', info.mode],
    ['Host', info.hostName],
    ['Pid', String(info.pid)],
    ['Running for', formatDuration(info.uptimeMs)],
    ['Memory', formatBytes(info.memoryBytes)],
    ['Log level', info.logLevel],
    ...info.sockets.map(({ frontend, path }) => [`Socket (${frontend})`, path] as const),
    ...Object.entries(info.paths).map(([purpose, path]) => [`Path (${purpose})`, path] as const),
    ['Domains', `${counts.domains}, ${counts.activeDomains} of them running`],
    ['Unreadable', counts.quarantined === 0 ? undefined : `${counts.quarantined} definitions`, 'bad'],
    ['Clients', `${counts.clients}, with ${counts.subscriptions} subscriptions`],
  ]);
}

function addPing(daemon: Command, cli: Cli): void {
  daemon
    .command('ping')
    .summary('see whether the daemon answers, and how fast')
    .description(methodSummary('daemon.ping'))
    .addOption(new Option('--count <number>', 'How often to ask.').default('1'))
    .action(async (options: { readonly count: string }) => {
      const count = parseCount('--count', options.count, { min: 1, max: 100_000 });
      const timesMs = await cli.withClient(async (client) => {
        const times: number[] = [];
        for (let done = 0; done < count; done++) {
          const before = performance.now();
          await client.call('daemon.ping', {});
          times.push(performance.now() - before);
        }
        return times;
      });
      const sorted = timesMs.toSorted((a, b) => a - b);
      const medianMs = sorted[Math.floor(sorted.length / 2)] ?? 0;
      const slowestMs = sorted.at(-1) ?? 0;
      cli.out.result({ count, medianMs, slowestMs }, () =>
        count === 1
          ? `The daemon answers (${medianMs.toFixed(2)} ms).\n`
          : `The daemon answers: ${count} times, median ${medianMs.toFixed(3)} ms, slowest ${slowestMs.toFixed(2)} ms.\n`,
      );
    });
}

export const addCall: AddCommand = (parent, cli) => {
  parent
    .command('call')
    .summary('call a method of the API')
    .description(
      "Calls one method of the daemon's JSON-RPC API, and prints its result as JSON. 'vireo call rpc.discover' describes them all.",
    )
    .argument('<method>', 'Its name, like domain.list.')
    .argument('[params]', 'Its params, as a JSON object.')
    .action(async (text: string, params: string | undefined) => {
      const name = methodOf(text);
      const object = params === undefined ? {} : parseJsonObject('the params', params);
      // The daemon checks the params against the declaration, and names what is wrong.
      const result = await cli.withClient((client) => client.call(name, object as never));
      cli.out.result(result, () => `${JSON.stringify(result, undefined, 2)}\n`);
    });
};

function methodOf(text: string): MethodName {
  const found = (Object.keys(methods) as MethodName[]).find((name) => name === text);
  if (found === undefined)
    throw badOption('the method', text, 'there is no such method', "'vireo call rpc.discover' lists them");
  const declaration: { readonly upgrade?: boolean } = methods[found];
  if (declaration.upgrade === true)
    throw badOption('the method', text, 'it opens a byte stream', "use 'vireo console' for a console");
  return found;
}
