/** Methods about the host and what its QEMU can do. */
import * as z from 'zod';
import { method } from './method.ts';

const none = z.strictObject({});
const word = z.string().regex(/^[A-Za-z0-9_.+-]{1,64}$/, 'must be a single word');

export const hostMethods = [
  method({
    name: 'host.info',
    since: '0.1.0',
    summary: 'Describes the host: name, CPUs, memory, KVM.',
    access: 'query',
    params: none,
    result: z.object({
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
    params: none,
    result: z.object({
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
    name: 'host.capabilities',
    since: '0.1.0',
    summary: "Gives libvirt's capabilities document of this host.",
    access: 'query',
    params: none,
    result: z.object({ xml: z.string() }),
    errors: ['qemu.probe-failed'],
  }),
  method({
    name: 'host.domain-capabilities',
    since: '0.1.0',
    summary: "Gives libvirt's domain capabilities document: what a domain may contain.",
    access: 'query',
    // An emulator named by the caller is run to ask what it can do (CVE-2019-10167 was that, for read-only clients).
    raises: { emulator: 'exec' },
    params: z.strictObject({
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
    result: z.object({ xml: z.string() }),
    errors: ['qemu.missing', 'qemu.probe-failed', 'qemu.lacks', 'kvm.unusable', 'access.read-only'],
  }),
] as const;
