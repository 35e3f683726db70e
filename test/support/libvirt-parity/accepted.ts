/** Differences from libvirt that are meant, each with its row in docs/libvirt-differences.md (`reason` is its first cell). */
import type { Difference } from './compare.ts';

export type View = 'inactive' | 'again' | 'live' | 'argv';

interface Accepted {
  readonly reason: string;
  /** Names of documents; all when left out. */
  readonly documents?: RegExp;
  readonly views: readonly View[];
  /** Differing lines that this explains. */
  readonly lines: RegExp;
}

const everywhere: readonly View[] = ['inactive', 'again', 'live', 'argv'];
const xml: readonly View[] = ['inactive', 'again', 'live'];

export const acceptedDifferences: readonly Accepted[] = [
  {
    reason: 'Firmware chosen at define time',
    views: xml,
    documents: /efi|uefi|^vi-windows11$/,
    lines: /<(loader|nvram|smm) /,
  },
  {
    reason: 'TPM version',
    views: xml,
    documents: /^tpm-emulator$/,
    lines: /<backend type='emulator' version=/,
  },
  {
    reason: 'Disks without a bus',
    views: xml,
    documents: /^disks-ide-default$/,
    lines: /<\/?(disk|driver|source|target|readonly|address)\b/,
  },
  {
    reason: 'Model of an added SCSI controller',
    views: everywhere,
    documents: /^disks-scsi-virtio$/,
    lines: /./,
  },
  {
    reason: 'Port of a virtio console',
    views: everywhere,
    lines: /<address type='virtio-serial' controller='0' bus='0' port='\d+'|^-device virtconsole /,
  },
  {
    reason: 'Order of controllers after a redefinition',
    views: ['again'],
    documents: /^q35-twenty$/,
    lines: /<\/?controller|<address type='pci'/,
  },
  {
    reason: 'Boot order of a network card in domxml-to-native',
    views: ['argv'],
    documents: /^boot-order$/,
    lines: /net0$/,
  },
  { reason: 'CPU of a running guest', views: ['live'], lines: /<cpu mode=|<feature policy='require' name=/ },
  { reason: 'Security labels and cgroups', views: ['live'], lines: /resource>|partition>|seclabel|label>/ },
  { reason: 'Number of a running guest', views: ['live'], lines: /<domain type='qemu' id=/ },
  {
    reason: 'Paths and ports of a running guest',
    views: ['live'],
    lines: /<source mode='bind' path=|<graphics type='\w+' port=/,
  },
  { reason: 'Driver of an empty drive', views: ['live'], lines: /<driver name='qemu'/ },
];

/** Documents that only one side takes, by the first cell of their row. */
export const acceptedRefusals: Readonly<Record<string, string>> = {
  isapc: 'Machines without PCI',
  'disks-q35-default': 'Disks named hd* on q35',
  'graphics-vnc-socket': 'Sockets of display servers',
  'watchdog-dump': 'Watchdog action dump',
  'tpm-crb': 'TPM banks',
  'features-kvm': 'KVM features of a guest under TCG',
  tuning: 'Resource partitions, shares of caches and memory bandwidth',
};

/** Differences of one document that nothing above explains. */
export function unexplained(name: string, view: View, differences: readonly Difference[]): Difference[] {
  const rules = acceptedDifferences.filter(
    ({ documents, views }) => views.includes(view) && (documents?.test(name) ?? true),
  );
  return differences.filter(({ line }) => !rules.some(({ lines }) => lines.test(line)));
}

/** Words of the capabilities documents that only one side has, by the first cell of their row. */
export const acceptedWords: readonly { readonly reason: string; readonly words: RegExp }[] = [
  { reason: 'Machine types that boot nothing', words: /^libvirt only: \w+ x-remote / },
  { reason: 'Displays on the host', words: /^libvirt only: devices\/graphics\/type (sdl|dbus)$/ },
  {
    reason: 'Host devices without an IOMMU',
    words: /^libvirt only: devices\/hostdev\/subsysType pci$/,
  },
  { reason: 'Filesystem driver handle', words: /^libvirt only: devices\/filesystem\/driverType handle$/ },
  { reason: 'TPM version', words: /devices\/tpm\/(backendModel|backendVersion) / },
  { reason: 'SGX', words: /features\/sgx / },
  { reason: 'Hyper-V under TCG', words: /features\/hyperv/ },
  { reason: 'Firmware bios', words: /^vireo only: os\/firmware bios$/ },
];

export function unexplainedWords(differences: readonly string[]): string[] {
  return differences.filter((word) => !acceptedWords.some(({ words }) => words.test(word)));
}
