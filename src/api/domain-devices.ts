/** Methods about the devices of domains: plugging in, taking out, changing, media. */
import * as z from 'zod';
import { changeTargets, domainRef } from './domain-objects.ts';
import { diskSpec, networkSpec } from './domain-spec.ts';
import { method } from './method.ts';
import { poolRef, volumeRef } from './pool-objects.ts';

const since = '0.1.0';

const deviceXml = z
  .string()
  .min(1)
  .max(1_048_576)
  .describe("The device as in libvirt's domain XML: `<disk …>…</disk>`.");

const deviceName = z
  .string()
  .min(1)
  .max(128)
  .describe('The device: its alias (`net0`), target (`vdb`), MAC address, or device on the host (`vnet0`).');

const path = z.string().min(1).max(4096);

const changeErrors = [
  'domain.not-found',
  'domain.no-device',
  'domain.inactive',
  'domain.transient',
  'domain.busy',
  'domain.state',
  'definition.unsupported',
  'request.invalid',
  'xml.malformed',
  'xml.invalid',
  'qemu.lacks',
  'file.not-found',
  'file.denied',
  'file.no-space',
  'qmp.failed',
  'qmp.timeout',
  'qmp.closed',
] as const;

/** Of disks and media that are volumes. */
const volumeErrors = [
  'pool.not-found',
  'pool.inactive',
  'volume.not-found',
  'volume.busy',
  'secret.not-found',
  'secret.no-value',
] as const;

export const domainDeviceMethods = [
  method({
    name: 'domain.attach-device',
    since,
    summary: 'Adds a device to a domain.',
    description:
      'Give `xml`, `disk` or `network`. Controllers that the device needs are added. By default a running guest gets it at once, and the stored definition has it too.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        xml: deviceXml.optional(),
        disk: diskSpec.optional().describe('A disk, under the next free name.'),
        network: networkSpec.optional().describe('A network card.'),
        ...changeTargets,
      }),
    result: () => z.object({ alias: z.string().nullable().describe('Its name in the running guest.') }),
    errors: [
      ...volumeErrors,
      ...changeErrors,
      'forward.conflict',
      'link.failed',
      'network.inactive',
      'network.not-found',
      'network.session',
      'host-device.not-found',
      'host-device.in-use',
    ],
  }),
  method({
    name: 'domain.detach-device',
    since,
    summary: 'Takes a device away from a domain.',
    description:
      'Give `xml` or `device`. A running guest is asked to let go of it; when it has not done so within the configured time, `released` is false, and `domain.device-removed` tells when it has.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        xml: deviceXml.optional(),
        device: deviceName.optional(),
        ...changeTargets,
      }),
    result: () => z.object({ released: z.boolean().describe('Whether the guest has let go of the device.') }),
    errors: [...changeErrors, 'operation.failed'],
  }),
  method({
    name: 'domain.update-device',
    since,
    summary: 'Changes a device of a domain.',
    description:
      'While the guest runs: the medium of a CD-ROM or floppy drive, the link and the network of an interface, the password of a display. Anything else that differs is an error which names it.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        xml: deviceXml,
        force: z.boolean().default(false).describe('Open a tray that the guest has locked.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, ...volumeErrors, 'link.failed', 'network.inactive', 'network.not-found'],
  }),
  method({
    name: 'domain.change-media',
    since,
    summary: 'Puts a medium into a CD-ROM or floppy drive, or takes it out.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        device: deviceName,
        path: path.nullable().optional().describe('Image or block device; null takes the medium out.'),
        volume: z
          .strictObject({ pool: poolRef, name: volumeRef })
          .optional()
          .describe('A volume, in place of a path. It is found anew at each start.'),
        format: z
          .enum(['raw', 'qcow2'])
          .optional()
          .describe('Of a path raw unless it is said; the pool knows that of a volume.'),
        force: z.boolean().default(false).describe('Open a tray that the guest has locked.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, ...volumeErrors],
  }),
] as const;
