/** Methods about the host and what its QEMU can do. */
import * as z from 'zod';
import { method } from './method.ts';

const none = z.strictObject({});
const word = z.string().regex(/^[A-Za-z0-9_.+-]{1,64}$/, 'must be a single word');

const hostInterface = z
  .object({
    name: z.string(),
    index: z.int().describe("The kernel's number of it."),
    type: z
      .string()
      .describe(
        "`ethernet`, `bridge`, `bond`, `vlan`, `tap`, `tun`, `macvtap`, `loopback`, or the kernel's own word for others.",
      ),
    up: z.boolean().describe('Somebody has set it up.'),
    state: z.string().describe('What the kernel makes of it: `up`, `down`, `lowerlayerdown`, `unknown`, ...'),
    mac: z.string().nullable(),
    mtu: z.int(),
    master: z.string().nullable().describe('The bridge or bond it is a port of.'),
    parent: z.string().nullable().describe('The interface below a VLAN or macvtap.'),
    vlan: z.int().nullable().describe('VLAN id of an interface of type `vlan`.'),
    speedMbps: z.int().nullable().describe('Null where the kernel tells none.'),
    addresses: z.array(z.object({ address: z.string(), prefix: z.int(), family: z.enum(['ipv4', 'ipv6']) })),
    owner: z
      .object({ type: z.enum(['network', 'domain']), uuid: z.guid(), name: z.string() })
      .nullable()
      .describe('The active network whose bridge it is, or the running domain it was made for.'),
  })
  .meta({ id: 'HostInterface', description: 'A network interface of the host.' });

const named = {
  vendor: z.string().nullable().describe('Name of the vendor, where the host knows it.'),
  product: z.string().nullable(),
  usedBy: z.object({ uuid: z.string(), name: z.string() }).nullable().describe('The domain that has it.'),
};
const heldBy = { ids: z.string().describe('Vendor and product: `8086:100e`.'), ...named };

const hostDevice = z
  .discriminatedUnion('type', [
    z.object({
      type: z.literal('pci'),
      ...heldBy,
      address: z.string().describe('`0000:01:00.0`'),
      class: z.string().describe('Six hexadecimal digits: `030000` is a VGA card.'),
      driver: z.string().nullable().describe("The host's driver; `vfio-pci` for one that a guest can have."),
      iommuGroup: z.int().nullable().describe('Devices of one group go to one guest together.'),
      numaNode: z.int().nullable(),
    }),
    z.object({
      type: z.literal('usb'),
      ...heldBy,
      name: z.string().describe('Its place: `1-2.4` is port 4 of the hub at port 2 of bus 1.'),
      bus: z.int(),
      device: z.int().describe('Changes each time it is plugged in.'),
      serial: z.string().nullable(),
      hub: z.boolean().describe('A hub, which cannot be given to a guest.'),
    }),
    z.object({
      type: z.literal('scsi'),
      ...named,
      adapter: z.string().describe('`scsi_host2`, as <adapter> names it.'),
      bus: z.int(),
      target: z.int(),
      unit: z.int(),
      node: z.string().nullable().describe("`/dev/sg3`; null while the kernel's module sg is not loaded."),
      block: z.string().nullable().describe('`sdb`, of a disk.'),
      kind: z.string().nullable().describe('`disk`, `tape`, `cdrom` and other words.'),
    }),
  ])
  .meta({ id: 'HostDevice', description: 'A device of the host that <hostdev> can name.' });

const cpuTimes = z
  .object({ userMs: z.int(), kernelMs: z.int(), idleMs: z.int(), iowaitMs: z.int() })
  .meta({ id: 'CpuTimes', description: 'Milliseconds since boot, to ten of them.' });

export const hostMethods = [
  method({
    name: 'host.info',
    since: '0.1.0',
    summary: 'Describes the host: name, CPUs, memory, KVM.',
    access: 'query',
    params: () => none,
    result: () =>
      z.object({
        hostName: z.string(),
        uuid: z.string(),
        arch: z.string(),
        kernel: z.string(),
        cpuModel: z.string().nullable(),
        cpuVendor: z.string().nullable(),
        cpuMhz: z.number().nullable(),
        cpus: z.int().describe('CPUs online.'),
        sockets: z.int(),
        coresPerSocket: z.int(),
        threadsPerCore: z.int(),
        numaNodes: z.int(),
        memoryBytes: z.int(),
        freeMemoryBytes: z.int().describe('Memory that programs can still get.'),
        kvm: z.object({
          usable: z.boolean(),
          reason: z.string().nullable().describe('Why not.'),
          hint: z.string().nullable().describe('The repair.'),
        }),
      }),
    errors: [],
  }),
  method({
    name: 'host.check',
    since: '0.1.0',
    summary: 'Checks everything that virtualisation needs of a host.',
    access: 'query',
    params: () => none,
    result: () =>
      z.object({
        checks: z.array(
          z.object({
            id: z.string(),
            title: z.string(),
            status: z.enum(['ok', 'warning', 'problem', 'absent']),
            detail: z.string(),
            repair: z.string().nullable().describe('What would mend it.'),
          }),
        ),
      }),
    errors: [],
  }),
  method({
    name: 'host.interfaces',
    since: '0.1.0',
    summary: 'Lists the network interfaces of the host, and what of ours uses them.',
    description: 'Only looks, and needs no rights: a session daemon lists them, too.',
    access: 'query',
    params: () =>
      z.strictObject({
        type: word.optional().describe('Only interfaces of this type (`bridge`).'),
      }),
    result: () => z.object({ interfaces: z.array(hostInterface) }),
    errors: ['link.failed'],
  }),
  method({
    name: 'host.interface-xml',
    since: '0.1.0',
    summary: "Gives a network interface of the host as libvirt's interface XML.",
    description: 'As it is now. Interfaces are only looked at: the host sets them up.',
    access: 'query',
    params: () => z.strictObject({ interface: z.string().min(1).max(64).describe('Its name (`eth0`).') }),
    result: () => z.object({ xml: z.string() }),
    errors: ['host-interface.not-found', 'link.failed'],
  }),
  method({
    name: 'host.devices',
    since: '0.1.0',
    summary: 'Lists the PCI, USB and SCSI devices of the host, and the domains that have them.',
    access: 'query',
    params: () =>
      z.strictObject({
        type: z
          .enum(['pci', 'usb', 'scsi'])
          .optional()
          .describe('Only devices of this type: `pci`, `usb` or `scsi`.'),
      }),
    result: () => z.object({ devices: z.array(hostDevice) }),
    errors: [],
  }),
  method({
    name: 'host.statistics',
    since: '0.1.0',
    summary: 'Tells what the processors did since boot, and which memory is free in each NUMA cell.',
    access: 'query',
    params: () => none,
    result: () =>
      z.object({
        total: cpuTimes,
        cpus: z.array(z.object({ cpu: z.int(), online: z.boolean(), times: cpuTimes.nullable() })),
        cells: z.array(
          z.object({
            cell: z.int(),
            memoryBytes: z.int(),
            freeMemoryBytes: z.int(),
            pages: z.array(z.object({ sizeBytes: z.int(), count: z.int(), free: z.int() })),
          }),
        ),
      }),
    errors: [],
  }),
  method({
    name: 'host.sysinfo',
    since: '0.1.0',
    summary: "Gives what the firmware says of the host (SMBIOS) as libvirt's sysinfo document.",
    description: 'Processors, memory modules and serial numbers are for a daemon that runs as root to see.',
    access: 'query',
    params: () => none,
    result: () => z.object({ xml: z.string() }),
    errors: ['request.unsupported'],
  }),
  method({
    name: 'host.sev',
    since: '0.1.0',
    summary:
      'Tells whether this host can have guests with encrypted memory (AMD SEV), how many, and its keys.',
    access: 'query',
    params: () => none,
    result: () =>
      z.object({
        platform: z
          .object({
            cbitpos: z.int().describe('The bit of a page table entry that says "encrypted".'),
            reducedPhysBits: z.int().describe('Bits of physical addresses that encryption takes.'),
            maxGuests: z.int().describe('Guests with SEV at a time; 0: the kernel does not tell.'),
            maxEsGuests: z.int().describe('Guests with SEV-ES or SEV-SNP at a time.'),
            pdh: z.string().describe("The platform's Diffie-Hellman key, base64."),
            certChain: z.string().describe('Certificates of that key up to AMD, base64.'),
            cpu0Id: z.string().nullable().describe('Identity of the first processor, base64.'),
          })
          .nullable(),
        reason: z.string().nullable().describe('Why there can be none.'),
        hint: z.string().nullable().describe('The repair.'),
      }),
    errors: ['qemu.missing', 'qemu.probe-failed'],
  }),
  method({
    name: 'host.capabilities',
    since: '0.1.0',
    summary: "Gives libvirt's capabilities document of this host.",
    access: 'query',
    params: () => none,
    result: () => z.object({ xml: z.string() }),
    errors: ['qemu.probe-failed'],
  }),
  method({
    name: 'host.domain-capabilities',
    since: '0.1.0',
    summary: "Gives libvirt's domain capabilities document: what a domain may contain.",
    access: 'query',
    // An emulator named by the caller is run to ask what it can do (CVE-2019-10167 was that, for read-only clients).
    raises: { emulator: 'exec' },
    params: () =>
      z.strictObject({
        emulator: z
          .string()
          .regex(/^\//, 'must be an absolute path')
          .max(4096)
          .optional()
          .describe('QEMU binary. Needs a read-write connection.'),
        arch: word.optional().describe('Guest architecture (`x86_64`).'),
        machine: word.optional().describe('Machine type (`q35`).'),
        virtType: z.enum(['kvm', 'qemu']).optional(),
      }),
    result: () => z.object({ xml: z.string() }),
    errors: ['qemu.missing', 'qemu.probe-failed', 'qemu.lacks', 'kvm.unusable', 'access.read-only'],
  }),
] as const;
