/** The objects that network methods and events speak of. */
import * as z from 'zod';
import { domainIdentity, job, timestamp } from './domain-objects.ts';

export const networkRef = z
  .string()
  .min(1)
  .max(255)
  .meta({ id: 'NetworkRef', description: 'Which network: its name or its uuid.' });

/** A name a client may give a new network; stored definitions of others are read more loosely. */
export const newNetworkName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$/,
    'must be 1 to 64 of A-Z a-z 0-9 _ . + -, first a letter or digit',
  )
  .meta({
    id: 'NetworkName',
    description: 'Name of a network: 1 to 64 characters of `A-Z a-z 0-9 _ . + -`.',
  });

export const networkIdentity = z
  .object({ uuid: z.guid(), name: z.string() })
  .meta({ id: 'NetworkIdentity', description: 'Names one network.' });

const mode = z
  .string()
  .describe(
    '`nat`, `route`, `open`, `none` (isolated), or `bridge`, `private`, `vepa`, `passthrough`, `hostdev` on interfaces of the host.',
  );

export const networkSummary = z
  .object({
    ...networkIdentity.shape,
    active: z.boolean(),
    persistent: z.boolean().describe('It has a stored definition and stays when it stops.'),
    autostart: z.boolean().describe('It is started with the daemon.'),
    title: z.string().nullable(),
    mode,
    bridge: z.string().nullable().describe('The bridge on the host.'),
    subnets: z.array(z.string()).describe('`192.168.122.0/24`'),
    ports: z.int().describe('How many interfaces of running guests are on it.'),
    job: job.nullable(),
  })
  .meta({ id: 'NetworkSummary', description: 'A network in a list.' });

const ip = z
  .object({
    address: z.string().describe("The bridge's own address."),
    prefix: z.int(),
    family: z.enum(['ipv4', 'ipv6']),
    dhcpRanges: z.array(z.object({ start: z.string(), end: z.string() })),
    reservations: z.int().describe('How many guests have an address of their own.'),
  })
  .meta({ id: 'NetworkAddress' });

export const networkPortForward = z
  .object({
    protocol: z.enum(['tcp', 'udp']),
    hostAddress: z.string().nullable().describe('Address of the host; null for all.'),
    hostPort: z.int().min(1).max(65_535),
    guest: z.string().nullable().describe('The guest it leads to, by name.'),
    guestAddress: z.string().nullable().describe('Where it leads now; null while the guest has no address.'),
    guestPort: z.int().min(1).max(65_535),
    count: z.int().describe('How many ports in a row, beginning with these.'),
    active: z.boolean().describe('The network is active and the address is known.'),
    trouble: z
      .string()
      .nullable()
      .describe('Why it leads nowhere now, or which program of the host it cuts off; null when all is well.'),
  })
  .meta({ id: 'NetworkPortForward', description: 'A port of the host that leads into a network.' });

const networkPort = z
  .object({
    domain: domainIdentity.pick({ uuid: true, name: true }),
    mac: z.string(),
    device: z.string().describe('The tap on the host.'),
  })
  .meta({ id: 'NetworkPort', description: 'An interface of a running guest on a network.' });

export const networkDetails = z
  .object({
    ...networkSummary.omit({ ports: true }).shape,
    description: z.string().nullable(),
    mac: z.string().nullable().describe("The bridge's MAC address."),
    mtu: z.int().nullable(),
    domainName: z.string().nullable().describe('DNS domain of the guests.'),
    startedAt: timestamp.nullable(),
    addresses: z.array(ip),
    ports: z.array(networkPort),
    portForwards: z.array(networkPortForward),
  })
  .meta({ id: 'NetworkDetails', description: 'Everything there is to show of a network, besides its XML.' });

export const lease = z
  .object({
    address: z.string(),
    prefix: z.int(),
    family: z.enum(['ipv4', 'ipv6']),
    mac: z.string().nullable(),
    clientId: z.string().nullable().describe('Client id, or DUID for IPv6.'),
    hostName: z.string().nullable().describe('As the guest said; nothing vouches for it.'),
    domain: z.string().nullable().describe('The domain that has this MAC address on the network and runs.'),
    expiresAt: timestamp.nullable().describe('Null for a lease without end.'),
  })
  .meta({ id: 'Lease', description: 'An address that DHCP gave to a guest.' });
