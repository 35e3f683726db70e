/** The objects that domain methods and events speak of: references, states, summaries, details. */
import * as z from 'zod';
import { type DomainStateName, stateReasons } from '../model/domain/state.ts';

/** Longest XML document a client may send, in characters (docs/security.md, limits). */
const MAX_XML_CHARS = 4 * 1024 * 1024;

// Here and wherever else a UUID is read: `z.uuid` would refuse those that people write by hand.
const uuid = z.guid().meta({ id: 'Uuid', description: 'UUID in lower case, with dashes.' });

export const timestamp = z.iso
  .datetime()
  .meta({ id: 'Timestamp', description: 'A moment in UTC, ISO 8601 with milliseconds.' });

/** A name a client may give a new domain; stored definitions of others are read more loosely. */
export const newDomainName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.:+ -]{0,63}$/,
    'must be 1 to 64 of A-Z a-z 0-9 _ . : + - and blank, first a letter or digit',
  )
  .meta({
    id: 'DomainName',
    description: 'Name of a domain: 1 to 64 characters of `A-Z a-z 0-9 _ . : + -` and blank.',
  });

/** What a change is made to; what is left out means: wherever the domain is. */
export const changeTargets = {
  live: z.boolean().optional().describe('Change the running guest.'),
  stored: z.boolean().optional().describe('Change the stored definition.'),
};

export const domainRef = z
  .union(
    [
      z
        .string()
        .min(1)
        .max(255)
        .describe('Name or uuid. A text that is the uuid of a domain means that domain.'),
      z.strictObject({ id: z.int32().min(1).describe('Id of a running domain.') }),
    ],
    { error: 'must be the name or uuid of a domain, or {"id": NUMBER} of a running one' },
  )
  .meta({ id: 'DomainRef', description: 'Which domain: its name, its uuid, or `{id}` of a running one.' });

export type DomainRef = z.output<typeof domainRef>;

const stateNames = Object.keys(stateReasons) as [DomainStateName, ...DomainStateName[]];

export const domainState = z
  .enum(stateNames)
  .meta({ id: 'DomainState', description: "State of a domain, in libvirt's words." });

export const xmlDocument = z
  .string()
  .min(1, 'an XML document is wanted, this one is empty')
  .max(MAX_XML_CHARS);

export const job = z
  .object({
    name: z.string().describe('What is being done: `start`, `destroy`, ...'),
    startedAt: timestamp,
  })
  .meta({ id: 'Job', description: 'The job that holds a domain; there is at most one.' });

/** Who a domain is; enough to find it again. */
export const domainIdentity = z
  .object({
    uuid,
    name: z.string(),
    id: z.int().nullable().describe('Number of the running guest, null when it is not running.'),
  })
  .meta({ id: 'DomainIdentity', description: 'Names one domain.' });

export const domainSummary = z
  .object({
    ...domainIdentity.shape,
    state: domainState,
    reason: z.string().describe("Why it is in that state, in libvirt's words."),
    active: z.boolean().describe('There is a QEMU process.'),
    persistent: z.boolean().describe('It has a stored definition and stays when it stops.'),
    autostart: z.boolean().describe('It is started with the daemon.'),
    saved: z.boolean().describe('The daemon keeps a state of it, from which its next start goes on.'),
    title: z.string().nullable(),
    memoryBytes: z.int().describe('Memory the guest has at most, in bytes.'),
    vcpus: z.int().describe('Virtual CPUs in use.'),
    virtType: z.string().describe('`kvm` or `qemu` (emulation by TCG).'),
    job: job.nullable(),
  })
  .meta({ id: 'DomainSummary', description: 'A domain in a list.' });

export const portForward = z
  .object({
    interface: z.string().describe('Alias of the interface (`net0`).'),
    protocol: z.enum(['tcp', 'udp']),
    hostAddress: z.string().describe('Address of the host that listens.'),
    hostPort: z.int().min(1).max(65535),
    guestAddress: z.string().describe('Address in the guest network.'),
    guestPort: z.int().min(1).max(65535),
  })
  .meta({ id: 'PortForward', description: 'A port of the host that leads to a port of the guest.' });

const diskInfo = z
  .object({
    target: z.string().describe('`vda`, `sda`, ...'),
    alias: z.string().nullable(),
    device: z.string().describe('`disk`, `cdrom`, `floppy` or `lun`.'),
    bus: z.string().nullable(),
    sourceType: z.string().describe('`file`, `block`, `network`, ...'),
    source: z.string().nullable().describe('Path or name of the image, null for an empty drive.'),
    format: z.string().nullable(),
    readonly: z.boolean(),
  })
  .meta({ id: 'Disk' });

const interfaceInfo = z
  .object({
    alias: z.string().nullable(),
    type: z.string().describe('`user`, `network`, `bridge`, ...'),
    mac: z.string().nullable(),
    model: z.string().nullable(),
    source: z.string().nullable().describe('Network, bridge or host device it is connected to.'),
    target: z.string().nullable().describe('The tap device on the host.'),
    address: z.string().nullable().describe("The guest's address where the daemon knows it."),
  })
  .meta({ id: 'Interface' });

const consoleInfo = z
  .object({
    alias: z.string().nullable().describe('What `domain.console` takes: `serial0`, `console0`, `channel0`.'),
    kind: z.enum(['serial', 'console', 'parallel', 'channel']),
    backend: z.string().describe('`pty`, `unix`, `file`, ...'),
    target: z.string().nullable().describe('The name of a channel, the type of a console.'),
    path: z.string().nullable().describe('Pseudo terminal or socket on the host.'),
  })
  .meta({ id: 'Console' });

const graphicsInfo = z
  .object({
    type: z.string().describe('`vnc`, `spice`, ...'),
    listen: z.string().nullable(),
    port: z.int().nullable(),
    tlsPort: z.int().nullable(),
    socket: z.string().nullable(),
  })
  .meta({ id: 'Graphics' });

export const domainDetails = z
  .object({
    ...domainSummary.shape,
    description: z.string().nullable(),
    currentMemoryBytes: z.int().describe('Memory the balloon leaves the guest, in bytes.'),
    maxVcpus: z.int(),
    arch: z.string(),
    machine: z.string().nullable(),
    emulator: z.string().nullable(),
    pid: z.int().nullable().describe('Process id of QEMU.'),
    startedAt: timestamp.nullable(),
    lastExit: z
      .object({
        reason: z.string().describe('Why the last run ended: `shutdown`, `destroyed` or `crashed`.'),
        at: timestamp,
        log: z.string().describe("After a crash the end of QEMU's own log, else empty."),
        how: z
          .string()
          .describe(
            "After a crash QEMU's signal (`SIGSEGV`) or exit status (`status 1`); empty where unknown.",
          ),
      })
      .nullable()
      .describe('How the last run ended, as far as this daemon saw it; null while it runs.'),
    disks: z.array(diskInfo),
    interfaces: z.array(interfaceInfo),
    consoles: z.array(consoleInfo),
    graphics: z.array(graphicsInfo),
    portForwards: z.array(portForward),
  })
  .meta({ id: 'DomainDetails', description: 'Everything there is to show of a domain, besides its XML.' });

export const quarantined = z
  .object({
    file: z.string().describe('Where the unreadable definition lies now.'),
    uuid: z.string().nullable().describe('Of the domain, as its file was named.'),
    reason: z.string(),
    at: timestamp,
  })
  .meta({ id: 'QuarantinedDefinition', description: 'A stored definition that could not be read.' });

export const addressSource = z
  .enum(['lease', 'agent', 'arp', 'user'])
  .meta({ id: 'AddressSource', description: 'Who told an address of a guest.' });

export const guestInterface = z
  .object({
    alias: z
      .string()
      .nullable()
      .describe('The interface in the definition; null for one that only the guest has.'),
    device: z.string().nullable().describe('Its device on the host.'),
    guestName: z.string().nullable().describe('Its name inside the guest, as the agent tells it.'),
    mac: z.string().nullable(),
    network: z.string().nullable().describe('The virtual network it is on.'),
    addresses: z.array(
      z.object({
        address: z.string(),
        prefix: z.int().nullable().describe('Null where no source tells it.'),
        family: z.enum(['ipv4', 'ipv6']),
        sources: z
          .array(z.enum([...addressSource.options, 'assumed']))
          .describe('Who told it; `assumed`: nobody did, and it is what a user network gives first.'),
        confirmed: z
          .boolean()
          .describe(
            'Told or seen since the guest was started; false for what may be left of an earlier run.',
          ),
        hostName: z.string().nullable().describe('The name the guest gave to DHCP.'),
      }),
    ),
  })
  .meta({ id: 'GuestInterface', description: 'An interface of a running guest with its addresses.' });
