/** Methods about virtual networks. They need the system connection. */
import * as z from 'zod';
import { updateCommands, updateSections } from '../model/network/update.ts';
import { dropped, metadataChange, metadataQuery, strict } from './documents.ts';
import { quarantined, xmlDocument } from './domain-objects.ts';
import { method } from './method.ts';
import {
  lease,
  networkDetails,
  networkPortForward,
  networkRef,
  networkSummary,
  newNetworkName,
} from './network-objects.ts';
import { undoable } from './undo.ts';

const since = '0.1.0';
const target = { network: networkRef };
const text = (max: number) => z.string().max(max).nullable();

const errors = ['network.session', 'network.not-found', 'network.quarantined'] as const;
const changeErrors = [...errors, 'network.busy'] as const;
/** What can be wrong with a definition that somebody brings. */
const definitionErrors = [
  'xml.malformed',
  'xml.invalid',
  'definition.unsupported',
  'network.exists',
] as const;
/** What can go wrong when a network is started. */
const startErrors = [
  'network.active',
  'network.conflict',
  'forward.conflict',
  'link.failed',
  'program.missing',
  'program.failed',
] as const;

const networkQueries = [
  method({
    name: 'network.list',
    since,
    summary: 'Lists the networks, by name.',
    description: 'Every filter that is given must hold.',
    access: 'query',
    params: () =>
      z.strictObject({
        active: z.boolean().optional().describe('Only networks that are active, or only those that are not.'),
        persistent: z.boolean().optional().describe('Only networks with a stored definition, or without.'),
        autostart: z.boolean().optional().describe('Only networks that start with the daemon, or do not.'),
      }),
    result: () => z.object({ networks: z.array(networkSummary), quarantined: z.array(quarantined) }),
    errors: ['network.session'],
  }),
  method({
    name: 'network.get',
    since,
    summary: 'Shows one network in detail.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => networkDetails,
    errors,
  }),
  method({
    name: 'network.xml',
    since,
    summary: "Gives the definition as libvirt's network XML.",
    access: 'query',
    params: () =>
      z.strictObject({
        ...target,
        inactive: z.boolean().default(false).describe('The stored definition, not the active one.'),
      }),
    result: () => z.object({ xml: z.string() }),
    errors,
  }),
  method({
    name: 'network.leases',
    since,
    summary: 'Lists the addresses that DHCP gave to guests.',
    access: 'query',
    params: () =>
      z.strictObject({
        ...target,
        mac: z.string().max(32).optional().describe('Only leases of this MAC address.'),
      }),
    result: () => z.object({ leases: z.array(lease) }),
    errors: [...errors, 'file.failed'],
  }),
  method({
    name: 'network.get-metadata',
    since,
    summary: 'Gives the metadata element of one namespace.',
    access: 'query',
    params: () =>
      z.strictObject({
        ...target,
        ...metadataQuery,
      }),
    result: () => z.object({ xml: z.string() }),
    errors: [...errors, 'network.no-metadata'],
  }),
  method({
    name: 'network.port-forward.list',
    since,
    summary: 'Lists the port forwards into a network.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ portForwards: z.array(networkPortForward) }),
    errors,
  }),
] as const;

const networkDefinitionMethods = [
  method({
    name: 'network.define',
    since,
    summary: "Stores a definition given as libvirt's network XML, or replaces one.",
    description:
      'The answer comes when the definition is safely on disk. An active network stays as it is; the new definition counts from its next start.',
    access: 'path',
    params: () => z.strictObject({ xml: xmlDocument.describe('The document.'), strict }),
    result: () => z.object({ network: networkSummary, dropped, warnings: z.array(z.string()) }),
    errors: ['network.session', ...definitionErrors, 'network.busy', 'file.no-space'],
  }),
  method({
    name: 'network.undefine',
    since,
    summary: 'Forgets the stored definition.',
    description: 'An active network becomes transient: it stays and is gone when it stops.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () =>
      z.object({
        undo: undoable
          .nullable()
          .describe("Takes it back ('undo.restore'); null where the daemon keeps nothing."),
      }),
    errors: [...changeErrors, 'network.transient'],
  }),
  method({
    name: 'network.create',
    since,
    summary: 'Makes a new network from a few words.',
    description:
      'The first address of the subnet is the gateway; DHCP gives the others. Without a subnet one that nobody uses is taken.',
    access: 'modify',
    params: () =>
      z.strictObject({
        name: newNetworkName,
        mode: z
          .enum(['nat', 'route', 'open', 'isolated', 'bridge', 'private', 'vepa', 'passthrough'])
          .default('nat')
          .describe(
            'How guests reach others: by address translation, routed, without any firewall rule, or not at all; or on what the host has: `bridge` on a bridge or on interfaces, `private`, `vepa` and `passthrough` on interfaces (macvtap).',
          ),
        subnet: z.string().max(18).optional().describe('IPv4 subnet, like `192.168.150.0/24`.'),
        domainName: z.string().max(253).optional().describe('DNS domain of the guests.'),
        dhcp: z.boolean().default(true).describe('Give addresses to guests.'),
        bridge: z
          .string()
          .max(15)
          .optional()
          .describe(
            'Name of the bridge; a free one when not given. With mode `bridge`: one that the host has.',
          ),
        interfaces: z
          .array(z.string().max(15))
          .max(256)
          .optional()
          .describe('Interfaces of the host for `bridge`, `private`, `vepa` and `passthrough`.'),
        start: z.boolean().default(false).describe('Start it at once.'),
        autostart: z.boolean().default(false).describe('Start it with the daemon.'),
      }),
    result: () => z.object({ network: networkSummary, warnings: z.array(z.string()) }),
    errors: ['network.session', 'request.invalid', ...definitionErrors, 'file.no-space', ...startErrors],
  }),
  method({
    name: 'network.create-xml',
    since,
    summary: 'Starts a transient network from network XML.',
    description: 'Nothing is stored; when it stops it is gone.',
    access: 'path',
    params: () => z.strictObject({ xml: xmlDocument.describe('The document.'), strict }),
    result: () => z.object({ network: networkSummary, dropped }),
    errors: ['network.session', ...definitionErrors, 'network.busy', ...startErrors],
  }),
  method({
    name: 'network.update',
    since,
    summary: 'Changes one part of a network; guests stay connected.',
    description:
      'Sections and commands are those of libvirt. By default the active network and the stored definition are changed, wherever the network is.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        section: z.enum(updateSections).describe('What kind of element.'),
        command: z.enum(updateCommands).describe('What to do with it.'),
        xml: xmlDocument.describe("The element: `<host mac='…' name='…' ip='…'/>`."),
        parentIndex: z
          .int()
          .min(0)
          .max(1000)
          .optional()
          .describe('Which `<ip>` a DHCP entry belongs to; the one whose subnet fits when not given.'),
        live: z.boolean().optional().describe('Whether to change the active network.'),
        stored: z.boolean().optional().describe('Whether to change the stored definition.'),
      }),
    result: () => z.object({}),
    errors: [
      ...changeErrors,
      'xml.malformed',
      'xml.invalid',
      'definition.unsupported',
      'request.invalid',
      'request.unsupported',
      'operation.failed',
      'network.inactive',
      'network.transient',
    ],
  }),
  method({
    name: 'network.set-autostart',
    since,
    summary: 'Sets whether a network is started with the daemon.',
    access: 'modify',
    params: () => z.strictObject({ ...target, autostart: z.boolean() }),
    result: () => z.object({}),
    errors: [...changeErrors, 'network.transient'],
  }),
  method({
    name: 'network.set-title',
    since,
    summary: 'Sets or removes the title, one line of text.',
    access: 'modify',
    params: () => z.strictObject({ ...target, title: text(255).describe('Null removes it.') }),
    result: () => z.object({}),
    errors: [...changeErrors, 'xml.invalid'],
  }),
  method({
    name: 'network.set-description',
    since,
    summary: 'Sets or removes the description.',
    access: 'modify',
    params: () => z.strictObject({ ...target, description: text(65_536).describe('Null removes it.') }),
    result: () => z.object({}),
    errors: [...changeErrors, 'xml.invalid'],
  }),
  method({
    name: 'network.set-metadata',
    since,
    summary: 'Sets or removes the metadata element of one namespace.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        ...metadataChange,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, 'network.no-metadata', 'xml.malformed', 'xml.invalid', 'request.invalid'],
  }),
] as const;

const endpoint = {
  protocol: z.enum(['tcp', 'udp']).default('tcp'),
  hostAddress: z.union([z.ipv4(), z.ipv6()]).optional().describe('Address of the host; all when not given.'),
  hostPort: z.int().min(1).max(65_535).describe('Port of the host.'),
};

const networkLifecycleMethods = [
  method({
    name: 'network.start',
    since,
    summary: 'Starts a defined network.',
    description: 'Running guests that were on it are connected again.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () =>
      networkSummary.extend({
        warnings: z.array(z.string()).describe('Programs of the host that a port forward cuts off.'),
      }),
    errors: [...changeErrors, ...startErrors, 'definition.unsupported'],
  }),
  method({
    name: 'network.stop',
    since,
    summary: 'Stops an active network.',
    description: 'Guests on it run on, without a connection until it is started again.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () =>
      z.object({ disconnected: z.array(z.string()).describe('Names of the domains that were on it.') }),
    errors: [...changeErrors, 'network.inactive', 'link.failed', 'program.failed'],
  }),
  method({
    name: 'network.reload',
    since,
    summary: 'Brings the host to the definition of an active network again.',
    description: 'Restores rules that somebody flushed, a bridge that was deleted, taps that were taken off.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: [...changeErrors, 'network.inactive', 'link.failed', 'program.failed'],
  }),
  method({
    name: 'network.test',
    since,
    summary:
      'Tests an active network as a guest would use it: DHCP, DNS, gateway, the way out, ports in, IPv6.',
    description:
      'Takes some seconds; each step is told as progress of a job that can be called off. A tap of its own joins the bridge for that time, and one port of the host leads to it; guests notice nothing, and nothing stays.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        target: z
          .ipv4()
          .optional()
          .describe("IPv4 address beyond the network to reach; the host's own gateway when not given."),
        outsideName: z
          .string()
          .regex(/^(?=.{1,253}$)([A-Za-z0-9_-]{1,63})(\.[A-Za-z0-9_-]{1,63})*$/, 'must be a host name')
          .optional()
          .describe('Name to look up beyond the network; `example.com` when not given.'),
      }),
    result: () =>
      z.object({
        ok: z.boolean().describe('No step has failed.'),
        steps: z.array(
          z.object({
            id: z.string().describe('`link`, `dhcp`, `gateway`, `dns-own`, `way-out` and so on.'),
            title: z.string(),
            status: z
              .enum(['ok', 'failed', 'skipped'])
              .describe('`skipped`: the network does not promise it, or it could not be tried.'),
            detail: z.string().describe('What was seen.'),
            repair: z.string().nullable().describe('What would mend it.'),
          }),
        ),
      }),
    errors: [
      ...changeErrors,
      'network.inactive',
      'definition.unsupported',
      'link.failed',
      'program.failed',
      'operation.aborted',
    ],
  }),
  method({
    name: 'network.port-forward.add',
    since,
    summary: 'Leads a port of the host into a network.',
    description:
      'To a guest by its name, whose address is followed when it changes, or to an address. Changes the active network at once and the stored definition.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        ...endpoint,
        guest: z.string().min(1).max(255).optional().describe('Name of the guest. This or `guestAddress`.'),
        guestAddress: z.union([z.ipv4(), z.ipv6()]).optional().describe('Address in the network.'),
        guestPort: z.int().min(1).max(65_535).describe('Port of the guest.'),
        count: z
          .int()
          .min(1)
          .max(1024)
          .default(1)
          .describe('How many ports in a row, beginning with these two.'),
      }),
    result: () => networkPortForward,
    errors: [...changeErrors, 'forward.conflict', 'xml.invalid', 'program.failed'],
  }),
  method({
    name: 'network.port-forward.remove',
    since,
    summary: 'Takes a port forward of a network away.',
    access: 'modify',
    params: () => z.strictObject({ ...target, ...endpoint }),
    result: () => z.object({}),
    errors: [...changeErrors, 'forward.not-found'],
  }),
] as const;

export const networkMethods = [
  ...networkQueries,
  ...networkDefinitionMethods,
  ...networkLifecycleMethods,
] as const;
