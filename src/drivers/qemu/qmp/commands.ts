/**
 * The QMP commands we use: arguments and results as QEMU's QAPI schema has them (docs/interop/qemu-qmp-ref; the
 * oldest QEMU is 6.2). A reply is unknown until its schema has parsed it; those that have parts stand in `replies.ts`.
 */
import * as z from 'zod';
import {
  blockDevice,
  blockJob,
  cpuDefinition,
  cpuFast,
  cpuModel,
  fdset,
  jobInfo,
  machine,
  migration,
  optionInfo,
  rxFilter,
  spiceInfo,
  status,
  vncInfo,
} from './replies.ts';

/** One command. `Args` lives in the type only: arguments are ours, so they need no check at run time. */
interface CommandSpec<Args, Result> {
  readonly result: z.ZodType<Result>;
  /** Never set. */
  readonly args?: Args;
}

function command<Args = undefined>(): <R>(result: z.ZodType<R>) => CommandSpec<Args, R> {
  return (result) => ({ result });
}

/** Commands without a result answer `{}`. */
const nothing = z.looseObject({});
const named = z.array(z.looseObject({ name: z.string() }));

interface JobStart {
  readonly 'job-id': string;
  readonly device: string;
  /** Bytes a second; 0 is no limit. */
  readonly speed?: number;
  /** False: it waits before it switches images. */
  readonly 'auto-finalize': boolean;
  readonly 'auto-dismiss': boolean;
}

export type QmpKey =
  | { readonly type: 'qcode'; readonly data: string }
  | { readonly type: 'number'; readonly data: number };

/** The table: one entry a command. */
export const commands = {
  qmp_capabilities: command<{ readonly enable?: readonly string[] } | undefined>()(nothing),

  // Running and stopping.
  'query-status': command()(status),
  cont: command()(nothing),
  stop: command()(nothing),
  quit: command()(nothing),
  system_powerdown: command()(nothing),
  system_reset: command()(nothing),
  system_wakeup: command()(nothing),
  /** Takes back a descriptor that getfd gave and no command has taken. */
  closefd: command<{ readonly fdname: string }>()(nothing),
  /** A client of a display, on a descriptor that getfd gave. `skipauth`: it needs no password. */
  add_client: command<{
    readonly protocol: 'vnc' | 'spice';
    readonly fdname: string;
    readonly skipauth?: boolean;
    readonly tls?: boolean;
  }>()(nothing),
  'inject-nmi': command()(nothing),
  /** QEMU 6.0. */
  'display-reload': command<{ readonly type: 'vnc'; readonly 'tls-certs'?: boolean }>()(nothing),
  'set-action': command<{
    readonly reboot?: 'reset' | 'shutdown';
    readonly shutdown?: 'pause' | 'poweroff';
    readonly panic?: 'pause' | 'shutdown' | 'exit-failure' | 'none';
    readonly watchdog?: string;
  }>()(nothing),

  // Who is it.
  'query-name': command()(z.looseObject({ name: z.string().optional() })),
  'query-uuid': command()(z.looseObject({ UUID: z.string() })),
  'query-kvm': command()(z.looseObject({ enabled: z.boolean(), present: z.boolean() })),
  'query-version': command()(
    z.looseObject({
      qemu: z.looseObject({ major: z.number(), minor: z.number(), micro: z.number() }),
      package: z.string(),
    }),
  ),
  'query-target': command()(z.looseObject({ arch: z.string() })),
  'query-current-machine': command()(z.looseObject({ 'wakeup-suspend-support': z.boolean().optional() })),

  // vCPUs and memory.
  'query-cpus-fast': command()(z.array(cpuFast)),
  'query-iothreads': command()(z.array(z.looseObject({ id: z.string(), 'thread-id': z.number() }))),
  'query-balloon': command()(z.looseObject({ actual: z.number() })),
  balloon: command<{ readonly value: number }>()(nothing),

  // Devices.
  device_add: command<{
    readonly driver: string;
    readonly id?: string;
    readonly [property: string]: unknown;
  }>()(nothing),
  device_del: command<{ readonly id: string }>()(nothing),
  'object-add': command<{
    readonly 'qom-type': string;
    readonly id: string;
    readonly [property: string]: unknown;
  }>()(nothing),
  'object-del': command<{ readonly id: string }>()(nothing),
  netdev_add: command<{ readonly type: string; readonly id: string; readonly [property: string]: unknown }>()(
    nothing,
  ),
  netdev_del: command<{ readonly id: string }>()(nothing),
  /** Only cards that tell their filter (virtio) are listed. */
  'query-rx-filter': command<{ readonly name: string }>()(z.array(rxFilter)),
  set_link: command<{ readonly name: string; readonly up: boolean }>()(nothing),
  'query-chardev': command()(
    z.array(z.looseObject({ label: z.string(), filename: z.string(), 'frontend-open': z.boolean() })),
  ),
  'qom-get': command<{ readonly path: string; readonly property: string }>()(z.unknown()),
  'qom-set': command<{ readonly path: string; readonly property: string; readonly value: unknown }>()(
    nothing,
  ),

  // Disks.
  'query-block': command()(z.array(blockDevice)),
  'query-blockstats': command<{ readonly 'query-nodes'?: boolean } | undefined>()(z.array(z.looseObject({}))),
  'query-named-block-nodes': command<{ readonly flat?: boolean } | undefined>()(
    z.array(z.looseObject({ 'node-name': z.string().optional(), drv: z.string(), file: z.string() })),
  ),
  'blockdev-add': command<{
    readonly driver: string;
    readonly 'node-name': string;
    readonly [property: string]: unknown;
  }>()(nothing),
  'blockdev-del': command<{ readonly 'node-name': string }>()(nothing),
  'blockdev-open-tray': command<{ readonly id: string; readonly force?: boolean }>()(nothing),
  'blockdev-close-tray': command<{ readonly id: string }>()(nothing),
  'blockdev-remove-medium': command<{ readonly id: string }>()(nothing),
  'blockdev-insert-medium': command<{ readonly id: string; readonly 'node-name': string }>()(nothing),

  // Jobs on images.
  'query-jobs': command()(z.array(jobInfo)),
  'query-block-jobs': command()(z.array(blockJob)),
  'block-stream': command<JobStart & { readonly 'base-node'?: string; readonly 'backing-file'?: string }>()(
    nothing,
  ),
  'block-commit': command<
    JobStart & {
      readonly 'top-node': string;
      readonly 'base-node': string;
      readonly 'backing-file'?: string;
    }
  >()(nothing),
  'blockdev-mirror': command<
    JobStart & {
      readonly target: string;
      readonly sync: 'full' | 'top' | 'none' | 'incremental';
      readonly granularity?: number;
      readonly 'buf-size'?: number;
      readonly 'copy-mode'?: 'background' | 'write-blocking';
      readonly replaces?: string;
    }
  >()(nothing),
  'block-job-set-speed': command<{ readonly device: string; readonly speed: number }>()(nothing),
  /** Of a mirror that is ready without `force`: it ends with a whole copy, and nothing switches. */
  'block-job-cancel': command<{ readonly device: string; readonly force?: boolean }>()(nothing),
  'job-complete': command<{ readonly id: string }>()(nothing),
  'job-cancel': command<{ readonly id: string }>()(nothing),
  'job-finalize': command<{ readonly id: string }>()(nothing),
  'job-dismiss': command<{ readonly id: string }>()(nothing),

  // Measuring and tuning.
  'query-hotpluggable-cpus': command()(
    z.array(
      z.looseObject({
        type: z.string(),
        'vcpus-count': z.number(),
        props: z.record(z.string(), z.number()),
        'qom-path': z.string().optional(),
      }),
    ),
  ),
  block_resize: command<{ readonly 'node-name': string; readonly size: number }>()(nothing),
  /** Every limit must be there; 0 is none. */
  block_set_io_throttle: command<{ readonly id: string; readonly [limit: string]: unknown }>()(nothing),
  'block-set-write-threshold': command<{
    readonly 'node-name': string;
    readonly 'write-threshold': number;
  }>()(nothing),
  /** The file is QEMU's to open: a name below its own directory. */
  pmemsave: command<{ readonly val: number; readonly size: number; readonly filename: string }>()(nothing),
  memsave: command<{ readonly val: number; readonly size: number; readonly filename: string }>()(nothing),
  'calc-dirty-rate': command<{
    readonly 'calc-time': number;
    readonly mode: 'page-sampling' | 'dirty-bitmap' | 'dirty-ring';
  }>()(nothing),

  // Memory and device state on the way to and from files (qapi/migration.json, qapi/dump.json).
  migrate: command<{ readonly uri: string }>()(nothing),
  'migrate-incoming': command<{ readonly uri: string }>()(nothing),
  migrate_cancel: command()(nothing),
  'migrate-set-capabilities': command<{
    readonly capabilities: readonly { readonly capability: string; readonly state: boolean }[];
  }>()(nothing),
  'migrate-set-parameters': command<{ readonly [parameter: string]: unknown }>()(nothing),
  'query-migrate': command()(migration),
  'query-migrate-capabilities': command()(
    z.array(z.looseObject({ capability: z.string(), state: z.boolean() })),
  ),
  'dump-guest-memory': command<{
    readonly paging: boolean;
    readonly protocol: string;
    readonly detach?: boolean;
    readonly format?: 'elf' | 'kdump-zlib' | 'kdump-lzo' | 'kdump-snappy' | 'win-dmp';
  }>()(nothing),
  'query-dump': command()(z.looseObject({ status: z.string(), completed: z.number(), total: z.number() })),
  'query-dump-guest-memory-capability': command()(z.looseObject({ formats: z.array(z.string()) })),

  // Descriptors. `add-fd` takes its descriptor by SCM_RIGHTS, which Node's sockets cannot send.
  'add-fd': command<{ readonly 'fdset-id'?: number; readonly opaque?: string } | undefined>()(
    z.looseObject({ 'fdset-id': z.number(), fd: z.number() }),
  ),
  'remove-fd': command<{ readonly 'fdset-id': number; readonly fd?: number }>()(nothing),
  'query-fdsets': command()(z.array(fdset)),

  // Screen and keys.
  'query-vnc': command()(vncInfo),
  'query-spice': command()(spiceInfo),
  /** `format` since QEMU 7.1, `device` needs an id of a display device. */
  screendump: command<{
    readonly filename: string;
    readonly device?: string;
    readonly head?: number;
    readonly format?: 'ppm' | 'png';
  }>()(nothing),
  'send-key': command<{ readonly keys: readonly QmpKey[]; readonly 'hold-time'?: number }>()(nothing),
  set_password: command<{
    readonly protocol: 'vnc' | 'spice';
    readonly password: string;
    readonly connected?: 'keep' | 'fail' | 'disconnect';
  }>()(nothing),
  expire_password: command<{ readonly protocol: 'vnc' | 'spice'; readonly time: string }>()(nothing),

  // The human monitor: only for what QMP lacks (hostfwd_add, hostfwd_remove, info usernet).
  'human-monitor-command': command<{ readonly 'command-line': string }>()(z.string()),

  // What the probe asks.
  'query-commands': command()(named),
  'query-machines': command()(z.array(machine)),
  'query-cpu-definitions': command()(z.array(cpuDefinition)),
  'query-cpu-model-expansion': command<{
    readonly type: 'full' | 'static';
    readonly model: { readonly name: string };
  }>()(cpuModel),
  'query-qmp-schema': command()(z.array(z.looseObject({ name: z.string(), 'meta-type': z.string() }))),
  'query-command-line-options': command()(z.array(optionInfo)),
  'query-tpm-models': command()(z.array(z.string())),
  'query-tpm-types': command()(z.array(z.string())),
  'qom-list-types': command<{ readonly implements: string; readonly abstract?: boolean }>()(named),
  'device-list-properties': command<{ readonly typename: string }>()(named),
  'query-gic-capabilities': command()(
    z.array(z.looseObject({ version: z.number(), emulated: z.boolean(), kernel: z.boolean() })),
  ),
  /** Of the running guest; SEV-SNP (QEMU 9.1) has `snp-policy` in the place of `policy` and `handle`. */
  'query-sev': command()(
    z.looseObject({
      enabled: z.boolean(),
      'api-major': z.number(),
      'api-minor': z.number(),
      'build-id': z.number(),
      state: z.string(),
      'sev-type': z.string().optional(),
      policy: z.number().optional(),
      'snp-policy': z.number().optional(),
    }),
  ),
  'query-sev-launch-measure': command()(z.looseObject({ data: z.string() })),
  'sev-inject-launch-secret': command<{
    readonly 'packet-header': string;
    readonly secret: string;
    readonly gpa?: number;
  }>()(nothing),
  'query-sev-capabilities': command()(
    z.looseObject({
      cbitpos: z.number(),
      'reduced-phys-bits': z.number(),
      pdh: z.string(),
      'cert-chain': z.string(),
      'cpu0-id': z.string().optional(),
    }),
  ),
} as const;

export type CommandName = keyof typeof commands;
type Table = typeof commands;
export type CommandArgs<N extends CommandName> = Table[N] extends CommandSpec<infer A, unknown> ? A : never;
export type CommandResult<N extends CommandName> = Table[N] extends CommandSpec<infer _, infer R> ? R : never;
