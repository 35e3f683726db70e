/** The short description that `domain.create` makes a good modern guest of. */
import * as z from 'zod';
import { newDomainName } from './domain-objects.ts';
import { imageReference } from './image.ts';
import { poolRef, volumeRef } from './pool-objects.ts';
import { secretRef } from './secret.ts';

/** Plain text for one attribute: no control characters, which XML could not carry either. */
// oxlint-disable-next-line no-control-regex
const line = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\u0000-\u001f\u007f]*$/, 'must not hold control characters');
const path = z
  .string()
  // oxlint-disable-next-line no-control-regex
  .regex(/^\/[^\u0000-\u001f\u007f]{0,4094}$/, 'must be an absolute path without control characters')
  .meta({ id: 'AbsolutePath', description: 'An absolute path on the host.' });
const port = z.int().min(1).max(65535);

export const portForwardSpec = z
  .strictObject({
    protocol: z.enum(['tcp', 'udp']).default('tcp'),
    hostAddress: line(64).default('127.0.0.1').describe('Address of the host to listen on.'),
    hostPort: port.describe('Port of the host.'),
    guestAddress: line(64)
      .optional()
      .describe("The guest's address; without it the first one given by DHCP."),
    guestPort: port.describe('Port of the guest.'),
  })
  .meta({ id: 'PortForwardSpec', description: 'A port of the host to lead into a guest.' });

export const diskSpec = z
  .strictObject({
    path: path.optional().describe('Image file or block device. This, or `pool`.'),
    pool: poolRef.optional().describe('Storage pool of the disk.'),
    volume: volumeRef
      .optional()
      .describe('Volume of `pool`; without it, a new one is named after the domain (`web.qcow2`).'),
    format: z
      .enum(['raw', 'qcow2', 'vmdk', 'vdi', 'vhdx'])
      .optional()
      .describe(
        'Format of the image; without it `qcow2` for a new image, `raw` for an existing one whose format is not told by its name.',
      ),
    bus: z.enum(['virtio', 'scsi', 'sata', 'ide', 'usb']).optional().describe('`virtio` when not given.'),
    readonly: z.boolean().default(false),
    below: z
      .strictObject({ path, format: z.enum(['raw', 'qcow2', 'vmdk', 'vdi', 'vhdx']) })
      .optional()
      .describe(
        'The image that `path` lies on, where that is neither beside it nor in an active pool: there a header alone is not followed.',
      ),
    createBytes: z
      .int()
      .min(1)
      .optional()
      .describe('When there is no such file or volume, create one of this size in bytes.'),
    secret: secretRef
      .optional()
      .describe('What opens an encrypted (LUKS) image; a new volume is encrypted with it.'),
  })
  .refine(
    ({ path: file, pool, volume }) =>
      (file === undefined) !== (pool === undefined) && (volume === undefined || pool !== undefined),
    {
      error: 'a disk has a path or a pool, and a volume only with a pool',
    },
  )
  .meta({ id: 'DiskSpec' });

export const networkSpec = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('user'),
      backend: z
        .enum(['passt'])
        .optional()
        .describe("Who does it: `passt`, with the host's own addresses; QEMU itself (SLIRP) when not given."),
      model: line(64).optional(),
      portForwards: z.array(portForwardSpec).max(256).default([]),
    }),
    z.strictObject({
      type: z.literal('network'),
      source: line(64).describe('Name of the network.'),
      model: line(64).optional(),
    }),
    z.strictObject({
      type: z.literal('bridge'),
      source: line(15).describe('Bridge of the host.'),
      model: line(64).optional(),
    }),
    z.strictObject({
      type: z.literal('direct'),
      source: line(15).describe('Interface of the host.'),
      mode: z
        .enum(['bridge', 'vepa', 'private', 'passthrough'])
        .default('bridge')
        .describe(
          'How guests on one interface reach each other: at once, by the switch beyond it, not at all; or the interface is for this guest alone.',
        ),
      model: line(64).optional(),
    }),
    z.strictObject({
      type: z.literal('segment'),
      source: line(64).describe('Name of the segment: guests of one user with the same name are connected.'),
      model: line(64).optional(),
    }),
  ])
  .meta({
    id: 'NetworkSpec',
    description:
      'A network card: of QEMU itself or passt (`user`), in a virtual network, on a bridge, on an interface of the host by macvtap (`direct`; the host itself does not reach the guest there), or on a `segment`, an Ethernet between guests on this host that needs no rights.',
  });

const imageSpec = z
  .strictObject({
    name: imageReference,
    pool: poolRef.default('default').describe("Where the image and the guest's disk go."),
    sizeBytes: z
      .int()
      .min(1)
      .default(10 * 1024 ** 3)
      .describe(
        "Size of the guest's disk in bytes, which takes space as it is written; at least that of the image.",
      ),
    copy: z
      .enum(['linked', 'full'])
      .default('linked')
      .describe('`linked`: only what differs from the image is stored. `full`: the disk depends on nothing.'),
    user: z
      .string()
      .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'must be a user name')
      .optional()
      .describe('Who may log in, and become root by sudo; when not given, the user of the distribution.'),
    sshKeys: z.array(line(16_384)).max(100).default([]).describe('Public keys, as in authorized_keys.'),
    passwordHash: line(512).optional().describe('Of crypt(5); without it there is no login by password.'),
    packages: z.array(line(128)).max(1000).default([]).describe('What to install at the first boot.'),
    userData: z
      .string()
      .min(1)
      .max(1024 * 1024)
      .optional()
      .describe('The whole user-data for cloud-init, in place of user, keys, password and packages.'),
  })
  .meta({
    id: 'ImageSpec',
    description: 'A cloud image as the first disk, with a seed for cloud-init (data source NoCloud).',
  });

export const domainSpec = {
  name: newDomainName,
  image: imageSpec
    .optional()
    .describe(
      'Boot from a cloud image, which is pulled when it is not here: the disk is volume `NAME.qcow2`, the seed `NAME-seed.iso`. With `transient` and `autodestroy` both are gone with the guest.',
    ),
  memoryBytes: z
    .int()
    .min(1024 * 1024)
    .describe('Memory in bytes.'),
  vcpus: z.int().min(1).max(4096).default(1).describe('Virtual CPUs.'),
  disks: z.array(diskSpec).max(256).default([]),
  cdrom: path.optional().describe('Image of a CD-ROM, from which the guest boots first.'),
  networks: z
    .array(networkSpec)
    .max(64)
    .optional()
    .describe(
      'Network cards. When not given: one in the network `default` where that is active, else one of type `user`.',
    ),
  kernel: path.optional().describe('Kernel to boot directly.'),
  initrd: path.optional().describe('Initial RAM disk for `kernel`.'),
  cmdline: line(65_536).optional().describe('Command line for `kernel`.'),
  graphics: z.enum(['vnc', 'spice', 'none']).default('none').describe('Graphical console.'),
  firmware: z.enum(['bios', 'efi']).default('bios'),
  arch: line(64).optional().describe("Guest architecture; the host's when not given."),
  machine: line(64).optional().describe('QEMU machine type; `q35` on x86 when not given.'),
  virtType: z
    .enum(['auto', 'kvm', 'qemu'])
    .default('auto')
    .describe('`auto` takes KVM where it is usable and else emulation, with a warning.'),
  title: line(255).optional(),
  description: z.string().max(65_536).optional(),
} as const;
