/** Methods for groups of limits that disks of a domain share. */
import * as z from 'zod';
import { changeTargets, domainRef } from './domain-objects.ts';
import { diskLimits } from './domain-tuning.ts';
import { method } from './method.ts';

const since = '0.1.0';
const group = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,100}$/, 'must be 1 to 100 letters, digits, and _ . -')
  .describe('Name of the group.');
const limits = diskLimits.omit({ groupName: true }).meta({
  id: 'ThrottleGroupLimits',
  description:
    'Bytes and operations a second of all disks of the group together; 0 lifts a limit, what is left out stays.',
});
const groupErrors = [
  'domain.not-found',
  'domain.inactive',
  'domain.transient',
  'domain.busy',
  'request.invalid',
  'file.no-space',
  'qmp.failed',
  'qmp.timeout',
] as const;

export const domainThrottleGroupMethods = [
  method({
    name: 'domain.throttle-group.list',
    since,
    summary: 'Lists the groups of limits that disks of a domain share.',
    description: 'A disk is in a group by `<throttlefilters>` of its definition, and may be in several.',
    access: 'query',
    params: () =>
      z.strictObject({
        domain: domainRef,
        inactive: z.boolean().optional().describe('As stored, while it runs.'),
      }),
    result: () =>
      z.object({
        groups: z.array(
          z.object({
            group: z.string(),
            limits,
            disks: z.array(z.string()).describe('Targets (`vda`) of the disks that it holds for.'),
          }),
        ),
      }),
    errors: ['domain.not-found', 'domain.quarantined'],
  }),
  method({
    name: 'domain.throttle-group.set',
    since,
    summary: 'Makes a group of limits for disks, or changes its limits.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, group, limits, ...changeTargets }),
    result: () => z.object({ limits }),
    errors: groupErrors,
  }),
  method({
    name: 'domain.throttle-group.remove',
    since,
    summary: 'Takes a group of limits away that no disk is in.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, group, ...changeTargets }),
    result: () => z.object({}),
    errors: [...groupErrors, 'domain.state'],
  }),
] as const;
