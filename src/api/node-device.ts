/** Methods about the host's devices as libvirt names them. */
import * as z from 'zod';
import { nodeCapabilityTypes } from '../model/node-device/node-device.ts';
import { method } from './method.ts';

const since = '0.1.0';

const nodeDeviceName = z
  .string()
  .min(1)
  .max(512)
  .describe("libvirt's name of the device: `pci_0000_00_02_0`.");

const nodeDevice = z
  .object({
    name: nodeDeviceName,
    parent: z.string().nullable().describe('The device it is on; null for the computer itself.'),
    path: z.string().nullable().describe('Below /sys/devices.'),
    devnode: z.string().nullable().describe('Its node below /dev.'),
    driver: z.string().nullable().describe("The kernel's driver that has it."),
    capabilities: z
      .array(z.enum(nodeCapabilityTypes))
      .describe('What it is, and what it can besides (`mdev_types`).'),
  })
  .meta({ id: 'NodeDevice', description: 'A device of the host.' });

const target = { device: nodeDeviceName };
const moveErrors = [
  'node-device.not-found',
  'host-device.not-found',
  'host-device.in-use',
  'host-device.unusable',
  'host-device.failed',
  'request.invalid',
  'request.unsupported',
  'program.missing',
] as const;

export const nodeDeviceMethods = [
  method({
    name: 'node-device.list',
    since,
    summary: "Lists the host's devices by libvirt's names, parents before what is on them.",
    description: 'Only looks, and needs no rights: a session daemon lists them, too.',
    access: 'query',
    params: () =>
      z.strictObject({
        capabilities: z
          .array(z.enum(nodeCapabilityTypes))
          .min(1)
          .max(32)
          .optional()
          .describe('Only devices that are any of these (`net`, `storage`).'),
      }),
    result: () => z.object({ devices: z.array(nodeDevice) }),
    errors: [],
  }),
  method({
    name: 'node-device.xml',
    since,
    summary: "Gives libvirt's node device XML.",
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ xml: z.string() }),
    errors: ['node-device.not-found'],
  }),
  method({
    name: 'node-device.detach',
    since,
    summary: "Takes a PCI device from the host's driver, so that guests can have it (vfio-pci).",
    description:
      "Only for <hostdev managed='no'>: managed devices move by themselves. Refused while the host has a file system on it mounted.",
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        driver: z
          .string()
          .regex(/^[a-z0-9_-]{1,63}$/)
          .optional()
          .describe(
            'A variant of vfio-pci for that kind of device, like `mlx5_vfio_pci`, whose module is loaded.',
          ),
      }),
    result: () => z.object({}),
    errors: moveErrors,
  }),
  method({
    name: 'node-device.reattach',
    since,
    summary: 'Gives a PCI device back to the driver that the kernel chooses.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: moveErrors,
  }),
  method({
    name: 'node-device.reset',
    since,
    summary: 'Resets a PCI device that neither a guest nor a driver of the host has.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: moveErrors,
  }),
] as const;
