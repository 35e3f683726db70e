/** What a running guest does by itself, and how it ends. */

import type { DomainState } from '../../model/domain/state.ts';
import type { BackupNews } from './backups.ts';
import type { BlockJobNews } from './block-jobs.ts';

/** Something a running guest did by itself. `seconds` is QEMU's own time stamp. */
export type GuestEvent = { readonly seconds: number } & (
  | { readonly kind: 'state'; readonly state: DomainState }
  | { readonly kind: 'reset'; readonly byGuest: boolean }
  /** The guest asked for power-off (or ours went through): vCPUs are stopped, QEMU waits to be ended. */
  /** `isReset`: it asked for a reset, which on_reboot has QEMU turn into a power-off. */
  | { readonly kind: 'powered-off'; readonly byGuest: boolean; readonly isReset?: boolean }
  | { readonly kind: 'panicked'; readonly info?: unknown }
  /** The guest panicked, and its kernel for crashes (kdump) runs now. */
  | { readonly kind: 'crash-loaded' }
  | { readonly kind: 'watchdog'; readonly action: string }
  /** The guest set its clock: how far it is ahead now of what the host's clock (or local time) says. */
  | { readonly kind: 'rtc-change'; readonly offsetSeconds: number }
  /** Memory on its way out is gone through once more (qapi/migration.json, MIGRATION_PASS). */
  | { readonly kind: 'migration-pass'; readonly pass: number }
  | { readonly kind: 'balloon'; readonly actualBytes: number }
  /** `device`: alias of the disk, or QEMU's node; `path`: the image; `isFull`: there was no room. */
  | {
      readonly kind: 'io-error';
      readonly device: string;
      readonly path?: string;
      readonly action: string;
      readonly reason: string;
      readonly isFull: boolean;
    }
  /** The guest's driver changed what its card receives. */
  | { readonly kind: 'receive-filter'; readonly alias: string }
  /** The guest let go of a device; the running definition has it no more. */
  | { readonly kind: 'device-deleted'; readonly alias: string }
  /** The guest was asked to let go of a device, and said no. */
  | { readonly kind: 'device-kept'; readonly alias: string }
  | { readonly kind: 'tray'; readonly device: string; readonly open: boolean }
  /** A process that serves one of the guest's devices has ended before the guest. */
  | { readonly kind: 'helper-ended'; readonly helper: string; readonly alias: string }
  | { readonly kind: 'agent-channel'; readonly connected: boolean; readonly alias: string }
  /** A client of a display came, was let in, or left. */
  | ({ readonly kind: 'graphics' } & GraphicsClient)
  /** A save that a daemon before this one had begun is whole: the guest is to end. */
  | { readonly kind: 'saved' }
  /** The guest went to sleep (`memory`: S3, `disk`: S4), or woke up. */
  | { readonly kind: 'sleep'; readonly to: 'memory' | 'disk' }
  | { readonly kind: 'wakeup' }
  /**
   * An image was written beyond the byte that somebody had named. `device`: alias of the disk, or QEMU's node of an image
   * that no disk has; `image`: its number in the running definition.
   */
  | {
      readonly kind: 'block-threshold';
      readonly device: string;
      readonly path?: string;
      readonly image?: number;
      readonly isTopmost?: boolean;
      readonly thresholdBytes: number;
      readonly excessBytes: number;
    }
  /** The host's hardware reported broken memory, and what became of it (qapi/run-state.json, MEMORY_FAILURE). */
  | {
      readonly kind: 'memory-failure';
      readonly recipient: 'hypervisor' | 'guest';
      readonly action: string;
      readonly actionRequired: boolean;
      readonly recursive: boolean;
    }
  /** The guest took or gave back memory of a device (virtio-mem). */
  | { readonly kind: 'memory-device-size'; readonly alias: string; readonly bytes: number }
  /** A job on an image is ready, or has ended. */
  | ({ readonly kind: 'block-job' } & BlockJobNews)
  /** A disk of a backup has ended, or all have. */
  | ({ readonly kind: 'backup' } & BackupNews)
  /** Any other QMP event, by its name. */
  | { readonly kind: 'other'; readonly name: string; readonly data: unknown }
);

/** A client of a graphics server, where it came from and how it proved who it is. */
export interface GraphicsClient {
  readonly phase: 'connect' | 'initialize' | 'disconnect';
  readonly local: GraphicsEndpoint;
  readonly remote: GraphicsEndpoint;
  /** `vnc`'s way to authenticate; empty where none was told. */
  readonly authScheme: string;
  readonly identities: readonly { readonly type: string; readonly name: string }[];
}

export interface GraphicsEndpoint {
  readonly family: 'ipv4' | 'ipv6' | 'unix';
  readonly node: string;
  readonly service: string;
}

/** How a guest came to its end. `stderrTail` is the end of QEMU's own log. */
export interface GuestExit {
  /** The wait status where QEMU was our child: code or signal; both undefined for a re-attached guest. */
  readonly exitCode?: number;
  readonly signal?: string;
  readonly stderrTail: string;
}
