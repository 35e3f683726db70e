/** What the kernel tells of devices that come, go and change (kernel, kobject_uevent; libudev gets the same). */
import { FfiError, NetlinkListener } from './ffi.ts';

const NETLINK_KOBJECT_UEVENT = 15; // linux/netlink.h
/** The group in which the kernel speaks; udevd has another. */
const KERNEL_GROUP = 1;

export interface Uevent {
  /** `add`, `remove`, `change`, `bind`, `unbind`, `move`, `online`, `offline`. */
  readonly action: string;
  /** Below /sys: `/devices/pci0000:00/0000:00:02.0`. */
  readonly path: string;
  readonly subsystem: string;
}

/** `add@/devices/...`, then `NAME=value` lines, each ended by a NUL; undefined for what is none. */
export function parseUevent(datagram: Buffer): Uevent | undefined {
  const [head = '', ...lines] = datagram.toString('utf8').split('\0');
  const found = /^([a-z]+)@(\/.*)$/.exec(head);
  const subsystem = lines.find((line) => line.startsWith('SUBSYSTEM='))?.slice('SUBSYSTEM='.length);
  if (found === null || subsystem === undefined) return undefined;
  return { action: found[1] ?? '', path: found[2] ?? '', subsystem };
}

/** Uevents since the last look. */
export interface UeventSource {
  /** Undefined when there were more than could be kept: then anything may have happened. */
  take(): Uevent[] | undefined;
  close(): void;
}

/** This host's. Needs no rights. @throws FfiError */
export function listenForUevents(): UeventSource {
  const listener = new NetlinkListener(NETLINK_KOBJECT_UEVENT, KERNEL_GROUP);
  return {
    take() {
      try {
        return listener.receive().flatMap((datagram) => parseUevent(datagram) ?? []);
      } catch (error) {
        if (error instanceof FfiError && error.code === 'ENOBUFS') return undefined;
        throw error;
      }
    },
    close: () => listener.close(),
  };
}
