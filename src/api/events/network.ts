/** Events of networks and their leases. */
import * as z from 'zod';
import { event } from '../method.ts';
import { lease, networkIdentity } from '../network-objects.ts';
import { quarantinedFile } from './quarantined-file.ts';

const since = '0.1.0';
const network = { network: networkIdentity };

export const networkEvents = [
  event({
    name: 'network.defined',
    since,
    summary: 'A network was stored.',
    payload: () => z.object({ ...network, isNew: z.boolean() }),
  }),
  event({
    name: 'network.undefined',
    since,
    summary: 'A stored network was forgotten.',
    payload: () => z.object(network),
  }),
  event({
    name: 'network.started',
    since,
    summary: 'A network is active.',
    payload: () => z.object(network),
  }),
  event({
    name: 'network.stopped',
    since,
    summary: 'A network is not active any more.',
    payload: () => z.object(network),
  }),
  event({
    name: 'network.changed',
    since,
    summary: 'A part of a network changed.',
    payload: () => z.object({ ...network, what: z.string().describe('`update`, `add port forward`, ...') }),
  }),
  event({
    name: 'network.metadata-changed',
    since,
    summary: 'Title, description or metadata changed.',
    payload: () =>
      z.object({
        ...network,
        what: z.enum(['title', 'description', 'metadata']),
        uri: z.string().nullable().describe('Namespace of the metadata.'),
      }),
  }),
  event({
    name: 'network.leases-changed',
    since,
    summary: 'The leases of a network changed in some way; what happened to each is told by the next three.',
    payload: () => z.object(network),
  }),
  event({
    name: 'network.lease-added',
    since,
    summary: 'A guest got an address by DHCP.',
    payload: () => z.object({ ...network, lease }),
  }),
  event({
    name: 'network.lease-renewed',
    since,
    summary: 'A guest keeps its address for longer, or gave another name.',
    payload: () => z.object({ ...network, lease }),
  }),
  event({
    name: 'network.lease-removed',
    since,
    summary: 'A guest gave its address back, or its lease ran out.',
    payload: () => z.object({ ...network, lease }),
  }),
  event({
    name: 'network.repaired',
    since,
    summary: 'Something of an active network was lost, and was restored or is missing.',
    payload: () =>
      z.object({
        ...network,
        what: z.enum(['dnsmasq', 'firewall', 'bridge']),
        reason: z.string(),
      }),
  }),
  event({
    name: 'network.quarantined',
    since,
    summary: 'A stored network could not be read and was put aside.',
    payload: () => quarantinedFile,
  }),
] as const;
