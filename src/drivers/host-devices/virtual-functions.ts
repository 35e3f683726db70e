/** Virtual functions of SR-IOV cards as network cards of guests: which there are, which are free, whose they are. */
import { basename } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { FunctionPool } from '../driver.ts';
import { pciPath, readPci } from './list.ts';
import { isVfioDriver, linksBehind } from './pci.ts';

/** MAC address (zeros for none), VLAN (0 for none) and its priority, as the physical function has them set. */
export interface FunctionSettings {
  readonly mac: string;
  readonly vlan: number;
  readonly qos: number;
}

/** Sets what only the physical function can; net/ does it by netlink, wired in daemon/engine.ts. */
export interface FunctionLinks {
  /** @throws VirtError link.failed */
  settings(link: string, number: number): FunctionSettings;
  /** @throws VirtError link.failed */
  set(link: string, number: number, settings: FunctionSettings): void;
  /** As `set`, at the end of a guest: a card that is gone is no error. @throws VirtError link.failed */
  restore(link: string, number: number, settings: FunctionSettings): void;
}

/** One virtual function. */
export interface VirtualFunction {
  readonly address: string;
  /** The interface of its physical function. */
  readonly link: string;
  /** Its number on that card, from 0. */
  readonly number: number;
}

/** What function a PCI device is; undefined for one that is none, or whose card has no network interface. */
export function functionAt(files: HostFiles, address: string): VirtualFunction | undefined {
  const physical = basename(files.link(`${pciPath(address)}/physfn`) ?? '');
  if (physical === '') return undefined;
  const [link] = files.list(`${pciPath(physical)}/net`);
  const name = virtualNames(files, physical).find(
    (one) => basename(files.link(`${pciPath(physical)}/${one}`) ?? '') === address,
  );
  if (link === undefined || name === undefined) return undefined;
  return { address, link, number: Number(name.slice('virtfn'.length)) };
}

/** The kernel's links `virtfn0`, `virtfn1` of a physical function, in their order (sysfs-bus-pci). */
function virtualNames(files: HostFiles, physical: string): string[] {
  return files
    .list(pciPath(physical))
    .filter((name) => /^virtfn\d+$/.test(name))
    .toSorted((a, b) => Number(a.slice('virtfn'.length)) - Number(b.slice('virtfn'.length)));
}

/** @throws VirtError host-device.unusable for what is no function, or one whose card is down */
export function requireFunction(
  files: HostFiles,
  address: string,
  { wanted, path }: { readonly wanted: string; readonly path: string },
): VirtualFunction {
  const found = functionAt(files, address);
  if (found === undefined)
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `${path}: PCI device ${address} is no virtual function of a network card`,
      hint: "give a whole card with <hostdev type='pci'>",
    });
  const flags = Number(files.read(`/sys/class/net/${found.link}/flags`)?.trim() ?? Number.NaN);
  if ((flags & 1) === 0 /* IFF_UP, linux/if.h */)
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `${path}: ${found.link}, the physical function of ${address}, is down`,
      hint: `ip link set ${found.link} up`,
    });
  return found;
}

/**
 * The functions of a pool that no guest has, those first that the host does not use itself.
 * @throws VirtError host-device.not-found for a card without functions; host-device.in-use when all are taken
 */
export function freeFunctions(
  files: HostFiles,
  pool: FunctionPool,
  isTaken: (address: string) => boolean,
  wanted: string,
): string[] {
  const all = pool.physical === undefined ? pool.addresses : functionsOf(files, pool.physical);
  if (all.length === 0)
    throw new VirtError('host-device.not-found', {
      wanted,
      reason: `${pool.physical} of network '${pool.network}' has no virtual functions`,
      hint: `make some: echo 4 >/sys/class/net/${pool.physical}/device/sriov_numvfs`,
    });
  const there = all.filter((address) => readPci(files, address) !== undefined);
  const free = there.filter((address) => !isTaken(address));
  if (free.length === 0)
    throw new VirtError(there.length === 0 ? 'host-device.not-found' : 'host-device.in-use', {
      wanted,
      reason:
        there.length === 0
          ? `the host has none of the ${all.length} devices of network '${pool.network}'`
          : `all ${there.length} virtual functions of network '${pool.network}' are in use by guests`,
      hint: 'stop a guest on that network, or give it more functions',
    });
  const isIdle = (address: string) =>
    isVfioDriver(readPci(files, address)?.driver) || linksBehind(files, address).length === 0;
  return [...free.filter(isIdle), ...free.filter((address) => !isIdle(address))];
}

/** Addresses of the virtual functions of the card that has that interface. */
function functionsOf(files: HostFiles, link: string): string[] {
  const device = `/sys/class/net/${link}/device`;
  return files
    .list(device)
    .filter((name) => /^virtfn\d+$/.test(name))
    .toSorted((a, b) => Number(a.slice('virtfn'.length)) - Number(b.slice('virtfn'.length)))
    .flatMap((name) => basename(files.link(`${device}/${name}`) ?? '') || []);
}

/** What an interface wants of its function. A trunk was refused when the command line was built. */
export function settingsFor(nic: Interface, before: FunctionSettings): FunctionSettings {
  const vlan = nic.vlan?.tags[0]?.id ?? 0;
  return { mac: nic.mac?.address ?? before.mac, vlan, qos: vlan === before.vlan ? before.qos : 0 };
}
