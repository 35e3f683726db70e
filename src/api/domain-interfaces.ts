/** Methods about the network cards of domains: the cable, limits, counters. */
import * as z from 'zod';
import { changeTargets, domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const interfaceRef = z
  .string()
  .min(1)
  .max(64)
  .describe('The interface: its MAC address, its alias (`net0`), or its device on the host (`vnet0`).');

const changeErrors = [
  'domain.not-found',
  'domain.no-device',
  'domain.inactive',
  'domain.transient',
  'domain.busy',
  'request.invalid',
  'file.no-space',
] as const;

const rate = z.int().min(1).max(0xffff_ffff);
const limit = z
  .strictObject({
    average: rate.describe('KiB a second in the long run.'),
    peak: rate.optional().describe('KiB a second at most; only what goes to the guest can have a peak.'),
    burst: rate.optional().describe('KiB that may pass at once.'),
  })
  .meta({ id: 'InterfaceLimit', description: 'A limit of bandwidth.' });

const counter = z.int().nonnegative();
const counters = z
  .object({
    rxBytes: counter,
    rxPackets: counter,
    rxErrors: counter,
    rxDropped: counter,
    txBytes: counter,
    txPackets: counter,
    txErrors: counter,
    txDropped: counter,
  })
  .meta({
    id: 'InterfaceCounters',
    description: 'Counters since the start of the guest, as it sees them: `rx` is what it received.',
  });

export const domainInterfaceMethods = [
  method({
    name: 'domain.set-link',
    since: '0.1.0',
    summary: 'Pulls the cable of a network card, or plugs it in.',
    description:
      'The guest sees its card lose the carrier, at once. By default the stored definition changes too.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        interface: interfaceRef,
        state: z.enum(['up', 'down']),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, 'qmp.failed', 'qmp.timeout'],
  }),
  method({
    name: 'domain.set-bandwidth',
    since: '0.1.0',
    summary: 'Limits the bandwidth of a network card, or lifts the limits.',
    description: 'A direction that is left out stays as it is; null lifts its limit.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        interface: interfaceRef,
        inbound: limit.nullable().optional().describe('What goes to the guest.'),
        outbound: limit.nullable().optional().describe('What comes from it.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, 'link.failed', 'program.missing', 'program.failed'],
  }),
  method({
    name: 'domain.interface-stats',
    since: '0.1.0',
    summary: 'Tells how much traffic the network cards of a running domain had.',
    access: 'query',
    params: () =>
      z.strictObject({
        domain: domainRef,
        interface: interfaceRef.optional().describe('Only this interface.'),
      }),
    result: () =>
      z.object({
        interfaces: z.array(
          z.object({
            alias: z.string().nullable(),
            type: z.string(),
            mac: z.string().nullable(),
            device: z.string().nullable().describe('The device on the host.'),
            link: z.enum(['up', 'down']).describe('Whether the cable is plugged in.'),
            counters: counters.nullable().describe('Null where nobody counts.'),
            reason: z.string().nullable().describe('Why nobody counts.'),
          }),
        ),
      }),
    errors: ['domain.not-found', 'domain.inactive', 'domain.no-device', 'request.unsupported', 'link.failed'],
  }),
] as const;
