/** Methods about network filters. They need the system connection. */
import * as z from 'zod';
import { dropped, strict } from './documents.ts';
import { domainIdentity, quarantined, xmlDocument } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

export const filterIdentity = z
  .object({ uuid: z.guid(), name: z.string() })
  .meta({ id: 'FilterIdentity', description: 'Names one network filter.' });

const filterRef = z
  .string()
  .min(1)
  .max(255)
  .meta({ id: 'FilterRef', description: 'Which network filter: its name or its uuid.' });

const filterSummary = z
  .object({
    ...filterIdentity.shape,
    chain: z.string().describe('`root`, or the chain its rules stand in (`arp-mac`).'),
    priority: z.int().nullable().describe('Where the chain stands; by its protocol when null.'),
    rules: z.int().describe('How many rules of its own it has.'),
    refers: z.array(z.string()).describe('The filters it refers to.'),
    builtIn: z.boolean().describe('It comes with Vireo.'),
  })
  .meta({ id: 'FilterSummary', description: 'A network filter in a list.' });

const filterBinding = z
  .object({
    device: z.string().describe('The tap on the host.'),
    domain: domainIdentity.pick({ uuid: true, name: true }),
    mac: z.string(),
    filter: z.string(),
    parameters: z.array(z.object({ name: z.string(), value: z.string() })),
  })
  .meta({ id: 'FilterBinding', description: 'The filter on one interface of a running guest.' });

const target = { filter: filterRef };
const errors = ['network.session', 'nwfilter.not-found'] as const;

export const nwfilterMethods = [
  method({
    name: 'nwfilter.list',
    since,
    summary: 'Lists the network filters, the built-in ones too, by name.',
    access: 'query',
    params: () =>
      z.strictObject({
        builtIn: z.boolean().optional().describe('Only those that come with Vireo, or only others.'),
      }),
    result: () => z.object({ filters: z.array(filterSummary), quarantined: z.array(quarantined) }),
    errors: ['network.session'],
  }),
  method({
    name: 'nwfilter.xml',
    since,
    summary: "Gives a filter as libvirt's nwfilter XML.",
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ xml: z.string() }),
    errors,
  }),
  method({
    name: 'nwfilter.define',
    since,
    summary: "Stores a filter from libvirt's nwfilter XML; running guests that use it get its rules at once.",
    description:
      'Without uuid it is the filter of that name, or a new one. One with the name of a built-in filter takes its place. When a running guest could not have it, nothing changes.',
    access: 'modify',
    params: () =>
      z.strictObject({
        xml: xmlDocument,
        strict,
      }),
    result: () =>
      z.object({
        filter: filterSummary,
        dropped,
      }),
    errors: [
      'network.session',
      'xml.malformed',
      'xml.invalid',
      'nwfilter.exists',
      'nwfilter.busy',
      'definition.unsupported',
      'program.missing',
      'program.failed',
    ],
  }),
  method({
    name: 'nwfilter.undefine',
    since,
    summary: 'Forgets a filter that no running guest uses.',
    description: 'One that takes the place of a built-in filter gives that back, to running guests as well.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => filterIdentity,
    errors: [...errors, 'nwfilter.built-in', 'nwfilter.in-use', 'nwfilter.busy'],
  }),
  method({
    name: 'nwfilter.bindings',
    since,
    summary: 'Lists which filters are in force for which interfaces of running guests.',
    access: 'query',
    params: () => z.strictObject({}),
    result: () => z.object({ bindings: z.array(filterBinding) }),
    errors: ['network.session'],
  }),
] as const;
