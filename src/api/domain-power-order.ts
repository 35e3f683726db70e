/** Methods for guests that start and end with their host, in an order. */
import * as z from 'zod';
import { hostDownActions } from '../model/domain/power-order.ts';
import { domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';
const seconds = z.int().min(0).max(86_400);
const action = z
  .enum(hostDownActions)
  .meta({ id: 'HostDownAction', description: 'What happens to a running guest when its host goes down.' });
const orderHelp = 'Lower numbers start first and end last; guests of one number end together.';
const order = z.int().min(0).max(999_999).describe(orderHelp);

const powerOrder = z
  .object({
    order,
    startDelaySeconds: seconds.describe('How long after its start the next guest waits.'),
    hostDown: action.nullable().describe('Null: as whoever shuts the host down says.'),
    timeoutSeconds: seconds.nullable().describe('How long it may take to shut down; null as above.'),
  })
  .meta({ id: 'PowerOrder', description: 'When a guest starts and ends with its host.' });

export const domainPowerOrderMethods = [
  method({
    name: 'domain.power-order.get',
    since,
    summary: 'Shows when a guest starts and ends with its host.',
    access: 'query',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => powerOrder,
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.power-order.set',
    since,
    summary: 'Sets when a guest starts and ends with its host.',
    description: 'What is left out stays. It stands in the metadata of the definition.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        order: order.optional().describe(orderHelp),
        startDelaySeconds: seconds.optional().describe('How long after its start the next guest waits.'),
        hostDown: action
          .nullable()
          .optional()
          .describe('What happens to it when the host goes down; null: as whoever shuts it down says.'),
        timeoutSeconds: seconds
          .nullable()
          .optional()
          .describe('How long it may take to shut down; null as above.'),
      }),
    result: () => powerOrder,
    errors: ['domain.not-found', 'domain.busy', 'file.no-space'],
  }),
  method({
    name: 'host.shutdown-guests',
    since,
    summary: 'Ends all running guests, as before the host goes down.',
    description:
      'Those of the highest order first, those of one order together. It returns when all have ended, or could not; with `dryRun` it only tells what it would do.',
    access: 'modify',
    params: () =>
      z.strictObject({
        action: action.default('shutdown').describe('For guests whose definition says nothing.'),
        timeoutSeconds: seconds.default(120).describe('For the same: how long a shutdown may take.'),
        late: z
          .enum(['destroy', 'save', 'leave'])
          .default('destroy')
          .describe('What becomes of a guest that has not shut down in time.'),
        dryRun: z.boolean().default(false),
      }),
    result: () =>
      z.object({
        guests: z.array(
          z.object({
            name: z.string(),
            uuid: z.string(),
            order,
            action,
            timeoutSeconds: seconds,
            outcome: z.enum(['off', 'saved', 'destroyed', 'running', 'failed']).nullable(),
            problem: z.string().nullable(),
          }),
        ),
      }),
    errors: [],
  }),
] as const;
