/** Names of vendors and products from pci.ids and usb.ids, where the host has them (packages pci.ids, usb.ids). */
import type { HostFiles } from '../../kvm/host-files.ts';

const places = {
  pci: ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids'],
  usb: ['/usr/share/misc/usb.ids', '/usr/share/hwdata/usb.ids', '/var/lib/usbutils/usb.ids'],
} as const;

interface Names {
  readonly vendor: string | undefined;
  readonly product: string | undefined;
}

/** Looks up the names of these devices, in one pass over the list; the key is `vvvv:pppp`. */
export function findNames(
  files: HostFiles,
  kind: 'pci' | 'usb',
  devices: readonly { readonly vendor: number; readonly product: number }[],
): ReadonlyMap<string, Names> {
  const text = places[kind].map((path) => files.read(path)).find((found) => found !== undefined);
  const wanted = new Map(devices.map((device) => [idsOf(device), device]));
  const names = new Map<string, Names>();
  if (text === undefined) return names;
  const vendors = new Map<string, string>();
  let vendor = '';
  for (const line of text.split('\n')) {
    // `VVVV  name`, a tab before products, two before what is below those; classes and others begin with a letter.
    if (line.startsWith('#') || line.startsWith('\t\t')) continue;
    const [, tab = '', id = '', name = ''] = /^(\t?)([0-9a-f]{4}) {2}(.*)$/.exec(line) ?? [];
    if (id === '' && line !== '' && !line.startsWith('\t')) vendor = '';
    if (id === '') continue;
    if (tab === '') {
      vendor = id;
      vendors.set(id, name);
    } else if (wanted.has(`${vendor}:${id}`))
      names.set(`${vendor}:${id}`, { vendor: vendors.get(vendor), product: name });
  }
  for (const key of wanted.keys())
    if (!names.has(key)) names.set(key, { vendor: vendors.get(key.slice(0, 4)), product: undefined });
  return names;
}

/** `8086:100e`. */
export function idsOf({ vendor, product }: { readonly vendor: number; readonly product: number }): string {
  const hex = (value: number) => value.toString(16).padStart(4, '0');
  return `${hex(vendor)}:${hex(product)}`;
}
