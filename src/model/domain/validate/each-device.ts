/** All devices of a definition in one list, with their paths in the document. */
import type { Address } from '../devices/address.ts';
import { isSerialConsole } from '../devices/chardev.ts';
import type { Devices } from '../devices/devices.ts';

/** What every device may have, and where it stands: `devices.disk[1]`. */
export interface AnyDevice {
  readonly path: string;
  readonly element: string;
  readonly alias?: string | undefined;
  readonly address?: Address | undefined;
  readonly boot?: { readonly order: number } | undefined;
}

/** The element of each list in Devices. */
export const elementNames = {
  disks: 'disk',
  controllers: 'controller',
  filesystems: 'filesystem',
  interfaces: 'interface',
  smartcards: 'smartcard',
  serials: 'serial',
  parallels: 'parallel',
  consoles: 'console',
  channels: 'channel',
  inputs: 'input',
  tpms: 'tpm',
  sounds: 'sound',
  videos: 'video',
  hostdevs: 'hostdev',
  redirdevs: 'redirdev',
  hubs: 'hub',
  watchdogs: 'watchdog',
  rngs: 'rng',
  panics: 'panic',
  shmems: 'shmem',
  memories: 'memory',
} as const satisfies Partial<Record<keyof Devices, string>>;

const families = Object.entries(elementNames) as [keyof typeof elementNames, string][];

const single = ['memballoon', 'iommu', 'vsock', 'nvram'] as const;

/**
 * Every device that has an alias or an address of its own. A console that is only another name for the first serial
 * port is left out.
 */
export function eachDevice(devices: Devices): AnyDevice[] {
  const found: AnyDevice[] = [];
  for (const [key, element] of families) {
    let index = -1;
    for (const device of devices[key]) {
      index += 1;
      if (key === 'consoles' && isSerialConsole(device as Devices['consoles'][number])) continue;
      found.push(described(device, element, `devices.${element}[${index}]`));
    }
  }
  for (const key of single) {
    const device = devices[key];
    if (device !== undefined) found.push(described(device, key, `devices.${key}`));
  }
  return found;
}

function described(device: Omit<AnyDevice, 'path' | 'element'>, element: string, path: string): AnyDevice {
  return { path, element, alias: device.alias, address: device.address, boot: device.boot };
}
