/**
 * What QEMU answers to the commands of `commands.ts`, where that has parts: as the QAPI schema has it, without members that
 * nobody reads.
 */
import * as z from 'zod';

/** QAPI RunState; a word of a newer QEMU passes as it is. */
export const status = z.looseObject({ running: z.boolean(), status: z.string() });

export const machine = z.looseObject({
  name: z.string(),
  alias: z.string().optional(),
  'is-default': z.boolean().optional(),
  'cpu-max': z.number(),
  'hotpluggable-cpus': z.boolean(),
  'numa-mem-supported': z.boolean(),
  deprecated: z.boolean().optional(),
  'default-cpu-type': z.string().optional(),
  'default-ram-id': z.string().optional(),
  acpi: z.boolean().optional(),
});

export const cpuDefinition = z.looseObject({
  name: z.string(),
  typename: z.string(),
  deprecated: z.boolean().optional(),
  'migration-safe': z.boolean().optional(),
  static: z.boolean().optional(),
  'unavailable-features': z.array(z.string()).optional(),
  'alias-of': z.string().optional(),
});

export const cpuModel = z.object({
  model: z.looseObject({
    name: z.string(),
    props: z.record(z.string(), z.union([z.boolean(), z.string(), z.number()])).optional(),
  }),
});

const macText = z.string().regex(/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/);
/** qapi/net.json, RxFilterInfo. Addresses are the guest's wishes. */
export const rxFilter = z.looseObject({
  name: z.string(),
  promiscuous: z.boolean(),
  multicast: z.enum(['normal', 'none', 'all']),
  'multicast-overflow': z.boolean(),
  'unicast-overflow': z.boolean(),
  'main-mac': macText,
  'unicast-table': z.array(macText),
  'multicast-table': z.array(macText),
});

export const vncInfo = z.looseObject({
  enabled: z.boolean(),
  host: z.string().optional(),
  service: z.string().optional(),
  auth: z.string().optional(),
  family: z.string().optional(),
});

export const spiceInfo = z.looseObject({
  enabled: z.boolean(),
  migrated: z.boolean().optional(),
  host: z.string().optional(),
  port: z.number().optional(),
  'tls-port': z.number().optional(),
});

export const blockDevice = z.looseObject({
  device: z.string(),
  qdev: z.string().optional(),
  removable: z.boolean(),
  locked: z.boolean(),
  tray_open: z.boolean().optional(),
  'io-status': z.string().optional(),
  inserted: z
    .looseObject({
      file: z.string(),
      'node-name': z.string().optional(),
      ro: z.boolean(),
      drv: z.string(),
    })
    .optional(),
});

export const cpuFast = z.looseObject({
  'cpu-index': z.number(),
  'qom-path': z.string(),
  'thread-id': z.number(),
  props: z.looseObject({}).optional(),
});

export const optionInfo = z.looseObject({
  option: z.string(),
  parameters: z.array(z.looseObject({ name: z.string() })),
});

/** qapi/block-core.json, BlockJobInfo; qapi/job.json, JobInfo. */
export const blockJob = z.looseObject({
  device: z.string(),
  type: z.string(),
  len: z.number(),
  offset: z.number(),
  speed: z.number(),
  status: z.string(),
  ready: z.boolean(),
  'io-status': z.string().optional(),
});
export const jobInfo = z.looseObject({
  id: z.string(),
  type: z.string().optional(),
  status: z.string(),
  error: z.string().optional(),
  'current-progress': z.number().optional(),
  'total-progress': z.number().optional(),
});
export const fdset = z.looseObject({
  'fdset-id': z.number(),
  fds: z.array(z.looseObject({ fd: z.number(), opaque: z.string().optional() })),
});

/** qapi/migration.json, MigrationInfo: every part comes only when there is something to say. */
export const migration = z.looseObject({
  status: z.string().optional(),
  'error-desc': z.string().optional(),
  'total-time': z.number().optional(),
  downtime: z.number().optional(),
  'setup-time': z.number().optional(),
  ram: z
    .looseObject({
      transferred: z.number(),
      remaining: z.number(),
      total: z.number(),
      duplicate: z.number().default(0),
      normal: z.number().default(0),
      'normal-bytes': z.number().default(0),
      'dirty-pages-rate': z.number().default(0),
      'dirty-sync-count': z.number().default(0),
      'page-size': z.number().default(4096),
      mbps: z.number().default(0),
    })
    .optional(),
});

export type QemuMachineInfo = z.infer<typeof machine>;
export type QemuCpuDefinition = z.infer<typeof cpuDefinition>;
