/** A QEMU command line while it is still data: options, and the descriptors that QEMU inherits. */

import type { SecretReference } from '../../../model/secret/secret.ts';
import type { PassedGroup } from '../../driver.ts';

/** JSON as QEMU's JSON option forms take it; a bigint for 64-bit numbers (a WWN), which JavaScript's cannot hold. */
export type JsonValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };
export interface JsonObject {
  readonly [key: string]: JsonValue | undefined;
}

/**
 * One option. `value` is a plain word (never with user text in it), a JSON object (for -device, -blockdev, -netdev,
 * -object, -audiodev, -display where the binary takes JSON), or key=value pairs, whose values the renderer escapes by
 * doubling commas. In pairs a key of '' writes the bare value (`-machine pc,usb=off`), which must come first.
 */
export interface QemuArg {
  readonly flag: `-${string}`;
  readonly value?:
    | string
    | { readonly json: JsonObject }
    | { readonly pairs: readonly (readonly [string, string | number | boolean | undefined])[] };
}

/**
 * A descriptor that QEMU inherits as number `fd`. The builder decides the numbers (from 3 up, in the order in which
 * they are asked for); the driver opens what is asked for and hands it over.
 */
export type FdNeed = {
  readonly fd: number;
} /** A unix socket that the daemon binds and listens on (QEMU: `fd=N,server=on`). */ & (
  | { readonly kind: 'listen'; readonly path: string }
  /** A unix socket that the daemon connects to. */
  | { readonly kind: 'connect'; readonly path: string }
  /**
   * A file, opened by the daemon and put into fdset `set` (QEMU opens `/dev/fdset/SET`). `rw` files get a second,
   * read-only descriptor `roFd` in the same set, since QEMU picks by access mode. `append` creates the file (0600).
   */
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly access: 'ro' | 'rw' | 'append' | 'truncate';
      readonly set: number;
      readonly roFd?: number;
      /** Path in the definition, for errors: `devices.disks[0].source`. */
      readonly purpose: string;
      /** Open with O_NONBLOCK semantics for devices (block, char); a regular file otherwise. */
      readonly device?: boolean;
      /** Open with O_DIRECT: since 9.1 QEMU takes a descriptor of a set only if it agrees in this, too. */
      readonly direct?: boolean;
      /** What to do when the file is not there (start policy of removable media). */
      readonly optional?: boolean;
      /**
       * The definition doesn't say whether this image has a backing file, and QEMU is told that it has none, since it
       * could not open one. An image of that format whose header names a backing file must not be started so: the guest
       * would see zeros. Whoever opens the file looks into its header.
       */
      readonly unknownBacking?: string;
    }
  /** Descriptor `index` of a group that a client has handed over, for fdset `set`. */
  | {
      readonly kind: 'passed';
      readonly group: string;
      readonly index: number;
      readonly set: number;
      readonly purpose: string;
    }
  /**
   * A sealed copy in memory (memfd) of a small file that QEMU reads by name and not through an fdset: kernel, initrd,
   * dtb, ACPI tables, SMBIOS and fw_cfg files, option ROMs, BIOS images. QEMU opens `/proc/self/fd/FD`; a memfd has mode
   * 0777, so the guest's uid may do that without rights on the file itself.
   */
  | { readonly kind: 'copy'; readonly path: string; readonly purpose: string }
  /** A text of the definition that QEMU takes as a file, in sealed memory, as a copy. */
  | { readonly kind: 'text'; readonly text: string; readonly purpose: string }
  /** The value of a secret, in sealed memory that goes with QEMU; QEMU opens `/proc/self/fd/FD`, as of a copy. */
  | { readonly kind: 'secret'; readonly reference: SecretReference; readonly purpose: string }
  /**
   * Memory that lives in a file (nvdimm, ivshmem, file-backed RAM): QEMU re-opens `/proc/self/fd/FD`, so its uid needs
   * rights on the inode. With `createBytes` a missing file is created with that size (0600, of the guest's uid).
   */
  | {
      readonly kind: 'memory-file';
      readonly path: string;
      readonly access: 'ro' | 'rw';
      readonly createBytes?: number;
      readonly purpose: string;
    }
  /** Queue `queue` of the tap for interface `interfaceIndex`, and its vhost-net descriptor. */
  | { readonly kind: 'tap' | 'vhost-net'; readonly interfaceIndex: number; readonly queue: number }
  | { readonly kind: 'vhost-vsock' | 'vhost-scsi' }
  /** Our end of the socket pair to the passt of that interface; comes from the helper that has the other end. */
  | { readonly kind: 'passt'; readonly interfaceIndex: number }
);

/** FdNeed without its number, as a device builder asks for it. */
export type FdRequest = FdNeed extends infer N ? (N extends FdNeed ? Omit<N, 'fd'> : never) : never;

/** A helper program that must run before QEMU and serves it by a socket. */
export type HelperNeed =
  | {
      readonly kind: 'swtpm';
      readonly socket: string;
      readonly stateDirectory: string;
      readonly version: '1.2' | '2.0';
    }
  | {
      readonly kind: 'virtiofsd';
      readonly socket: string;
      readonly sourceDirectory: string;
      readonly binary?: string;
      /** cache, sandbox: words; xattr, flock, posixLock, readonly: boolean; threadPoolSize: number. */
      readonly options: Readonly<Record<string, string | number | boolean>>;
    }
  /** passt: a user-mode network that QEMU reaches over one half of a socket pair, as descriptor `fd`. */
  | {
      readonly kind: 'passt';
      readonly fd: number;
      readonly args: readonly string[];
      readonly interfaceIndex: number;
      readonly alias: string;
      /** Where its messages go; without it to the guest's log. */
      readonly logFile?: string;
    };

/** Ports decided by the driver for one graphics device, by its place in `devices.graphics`. */
export interface GraphicsPorts {
  readonly port?: number;
  readonly tlsPort?: number;
  readonly websocket?: number;
}

/** The directory in a guest's directory (QEMU's working directory) that belongs to the guest's user. */
export const ownDirectory = 'own';

/** What argv building needs to know besides definition and capabilities; all of it decided before. */
export interface BuildContext {
  readonly domainId: number;
  /** The guest's private runtime directory: sockets lie here. */
  readonly directory: string;
  /** QMP socket path, below `directory`. */
  readonly qmpSocket: string;
  readonly nvramDirectory: string;
  readonly tpmDirectory: string;
  readonly logDirectory: string;
  readonly mode: 'system' | 'session';
  readonly sandbox: boolean;
  /** /dev/vhost-net can be opened. */
  readonly vhostNet: boolean;
  /** Host CPU model properties and other host facts that change the command line. */
  readonly hostArch: string;
  readonly allowCommandLinePassthrough: boolean;
  /** TCP ports of graphics devices by index; a device with autoport and no entry here is a problem. */
  readonly graphicsPorts?: readonly GraphicsPorts[];
  /** Where file-backed guest RAM lies (memoryBacking source type='file'); without it that is refused. */
  readonly memoryDirectory?: string;
  /** The time of the start, for clocks that are offset from it; a clock that needs it is a problem without. */
  readonly nowMs?: number;
  /** Groups of descriptors that clients have handed over; left out where a command line is only shown or checked. */
  readonly passedGroups?: ReadonlyMap<string, PassedGroup>;
  /** The SCSI generic node (`/dev/sg2`) of a device of the host, by its `HOST:BUS:TARGET:UNIT`; undefined when it is not there. */
  readonly scsiNode?: (place: string) => string | undefined;
  /** How far the host's local time is ahead of UTC, for `<clock offset='variable' basis='localtime'>`. */
  readonly utcOffsetSeconds?: number;
}

/** The finished command, still data. `aliases` lists chardev ids of ptys, so that the driver knows what to ask for. */
export interface QemuCommand {
  readonly binary: string;
  readonly args: readonly QemuArg[];
  readonly fds: readonly FdNeed[];
  readonly helpers: readonly HelperNeed[];
  /** Alias of the device by chardev id, for pty-backed devices: `charserial0` -> `serial0`. */
  readonly ptys: Readonly<Record<string, string>>;
  /** Socket path of channels and consoles by alias. */
  readonly sockets: Readonly<Record<string, string>>;
  /** Environment variables besides the fixed ones. */
  readonly environment: Readonly<Record<string, string>>;
  /** QMP commands for what no option can say; run once after the greeting, before `cont`. */
  readonly setup: readonly QmpStep[];
  /** Words of <qemu:commandline>, put behind everything else as they are. */
  readonly passthrough: readonly string[];
}

/** One QMP command with its arguments. */
export interface QmpStep {
  readonly execute: string;
  readonly arguments: JsonObject;
}
