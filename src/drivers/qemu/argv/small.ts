/** Devices of one line each: balloon, watchdog, panic notifier, vsock, IOMMU. */
import type { Memballoon, Panic, Watchdog } from '../../../model/domain/devices/small.ts';
import { aliasOf, placement } from './address.ts';
import type { Build } from './context.ts';
import { virtioDevice, virtioOptions } from './virtio.ts';

/** <memballoon>. */
export function buildBalloon(b: Build): void {
  const balloon = b.definition.devices.memballoon;
  const path = 'devices.memballoon';
  if (balloon === undefined || balloon.model === 'none') return;
  if (balloon.model === 'xen') {
    b.problem(`${path}.model`, `'xen' is of another hypervisor`);
    return;
  }
  const driver = virtioDevice('virtio-balloon-pci', balloon.model);
  b.device(path, {
    driver,
    'deflate-on-oom': balloon.autodeflate,
    'free-page-reporting': b.property(path, driver, 'free-page-reporting', balloon.freePageReporting),
    ...virtioOptions(balloon.driver),
    ...placement(b, balloon, path),
  });
  setUpBalloon(b, balloon, path);
}

/** The guest's target size and how often it reports are told by QMP. */
function setUpBalloon(b: Build, balloon: Memballoon, path: string): void {
  const { currentMemoryKiB, memory } = b.definition;
  if (currentMemoryKiB !== undefined && currentMemoryKiB < memory.sizeKiB)
    b.setup.push({ execute: 'balloon', arguments: { value: currentMemoryKiB * 1024 } });
  if (balloon.statsPeriodSeconds !== undefined)
    b.setup.push({
      execute: 'qom-set',
      arguments: {
        path: `/machine/peripheral/${aliasOf(balloon, path)}`,
        property: 'guest-stats-polling-interval',
        value: balloon.statsPeriodSeconds,
      },
    });
}

/** All of <watchdog>. QEMU knows one action for all of them. */
export function buildWatchdogs(b: Build): void {
  const { watchdogs } = b.definition.devices;
  for (const [index, watchdog] of watchdogs.entries())
    buildWatchdog(b, watchdog, `devices.watchdog[${index}]`);
  const actions = new Set(watchdogs.map((watchdog) => watchdog.action ?? 'reset'));
  if (actions.size > 1) b.problem('devices.watchdog', 'all watchdogs must have the same action');
  const [action] = actions;
  if (action === 'dump') b.problem('devices.watchdog.action', `'dump' is not supported`);
  if (action !== undefined) b.pairs('-action', [['watchdog', action]]);
}

function buildWatchdog(b: Build, watchdog: Watchdog, path: string): void {
  switch (watchdog.model) {
    case 'i6300esb':
      return b.device(path, { driver: 'i6300esb', ...placement(b, watchdog, path) });
    case 'ib700':
      return b.device(path, { driver: 'ib700', id: aliasOf(watchdog, path) });
    case 'diag288':
      b.problem(`${path}.model`, `'diag288' is only there on s390x`);
  }
}

/** All of <panic>. Model hyperv is an option of -cpu. */
export function buildPanics(b: Build): void {
  for (const [index, panic] of b.definition.devices.panics.entries())
    buildPanic(b, panic, `devices.panic[${index}]`);
}

function buildPanic(b: Build, panic: Panic, path: string): void {
  const model = panic.model ?? 'isa';
  if (model === 'hyperv') return;
  if (model !== 'isa' || !b.isX86) {
    b.problem(`${path}.model`, `'${model}' is not there on ${b.arch}`);
    return;
  }
  const ioport = panic.address?.type === 'isa' ? panic.address.iobase : undefined;
  b.device(path, { driver: 'pvpanic', ioport });
}

/** <vsock>: a descriptor of /dev/vhost-vsock, and the guest's number on it. */
export function buildVsock(b: Build): void {
  const vsock = b.definition.devices.vsock;
  const path = 'devices.vsock';
  if (vsock === undefined) return;
  if (vsock.cid?.address === undefined) b.problem(`${path}.cid`, 'was not chosen');
  b.device(path, {
    driver: virtioDevice('vhost-vsock-pci', vsock.model),
    'guest-cid': vsock.cid?.address,
    vhostfd: String(b.need({ kind: 'vhost-vsock' })),
    ...virtioOptions(vsock.driver),
    ...placement(b, vsock, path),
  });
}

/** <iommu>, which must be there before the devices behind it. smmuv3 is an option of -machine. */
export function buildIommu(b: Build): void {
  const iommu = b.definition.devices.iommu;
  const path = 'devices.iommu';
  if (iommu === undefined) return;
  const { driver } = iommu;
  // libvirt's schema gives an IOMMU no alias; there is only one.
  const named = { ...iommu, alias: 'iommu0' };
  if (iommu.model !== 'intel' && driver !== undefined) b.refuse(path, { driver }, `needs model 'intel'`);
  switch (iommu.model) {
    case 'smmuv3':
      if (b.arch !== 'aarch64') b.problem(`${path}.model`, `'smmuv3' is only there on aarch64`);
      return;
    case 'virtio':
      return b.device(path, { driver: 'virtio-iommu-pci', ...placement(b, named, path) });
    case 'intel':
      if (!b.isQ35) b.problem(`${path}.model`, `'intel' needs a q35 machine`);
      checkRemapping(b, driver, path);
      return b.device(path, {
        driver: 'intel-iommu',
        id: named.alias,
        intremap: onOff(driver?.intremap),
        'caching-mode': driver?.cachingMode,
        eim: onOff(driver?.eim),
        'device-iotlb': driver?.iotlb,
        'aw-bits': driver?.awBits,
      });
  }
}

type IommuDriver = NonNullable<Build['definition']['devices']['iommu']>['driver'];

/** Under KVM interrupts are remapped by QEMU only when the I/O APIC is QEMU's; x2APIC ids need KVM besides. */
function checkRemapping(b: Build, driver: IommuDriver, path: string): void {
  const isSplit = b.definition.features?.ioapic === 'qemu';
  if (driver?.intremap && b.isKvm && !isSplit)
    b.problem(`${path}.driver.intremap`, `needs <ioapic driver='qemu'/>`);
  if (driver?.eim && !(b.isKvm && isSplit))
    b.problem(`${path}.driver.eim`, `needs a domain of type kvm with <ioapic driver='qemu'/>`);
}

/** QEMU's OnOffAuto is a word also in JSON. */
function onOff(value: boolean | undefined): 'on' | 'off' | undefined {
  return value === undefined ? undefined : value ? 'on' : 'off';
}
