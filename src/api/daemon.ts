/** Methods about the daemon itself, and the description of this API. */
import * as z from 'zod';
import { timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const logLevel = z
  .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
  .meta({ id: 'LogLevel' });

const none = z.strictObject({});

export const daemonMethods = [
  method({
    name: 'rpc.discover',
    since: '0.1.0',
    summary: 'Gives this description as an OpenRPC document.',
    access: 'query',
    params: none,
    result: z.record(z.string(), z.unknown()),
    errors: [],
  }),
  method({
    name: 'daemon.ping',
    since: '0.1.0',
    summary: 'Answers, to show that the daemon does.',
    access: 'query',
    params: none,
    result: z.object({}),
    errors: [],
  }),
  method({
    name: 'daemon.info',
    since: '0.1.0',
    summary: 'Tells version, mode, paths and counts of the daemon.',
    access: 'query',
    params: none,
    result: z.object({
      version: z.string(),
      mode: z.enum(['system', 'session']),
      pid: z.int(),
      startedAt: timestamp,
      uptimeMs: z.int(),
      hostName: z.string(),
      logLevel,
      sockets: z.array(z.object({ frontend: z.string(), path: z.string() })),
      paths: z.record(z.string(), z.string()).describe('Directories by purpose.'),
      counts: z.object({
        clients: z.int(),
        subscriptions: z.int(),
        domains: z.int(),
        activeDomains: z.int(),
        quarantined: z.int(),
      }),
      memoryBytes: z.int().describe('Resident memory of the daemon, in bytes.'),
    }),
    errors: [],
  }),
  method({
    name: 'daemon.set-log-level',
    since: '0.1.0',
    summary: 'Changes what the daemon logs, until it stops.',
    access: 'modify',
    params: z.strictObject({ level: logLevel }),
    result: z.object({ previous: logLevel }),
    errors: [],
  }),
] as const;
