/** Where virsh may show something else: each row has its place in docs/libvirt-differences.md, by its reason. */

export interface Accepted {
  /** Which commands of the list. */
  readonly commands: RegExp;
  /**
   * What is compared all the same. `numbers`: all but numbers. `words`: the exit status and an error's leading words,
   * which stand for its code. `status`: the exit status alone. `nothing`: the answers differ on purpose.
   */
  readonly how: 'numbers' | 'words' | 'status' | 'nothing';
  readonly reason: string;
}

const ownWords = 'Error texts';
const asked = 'Measured at another moment';

/** The first that fits counts. */
export const acceptedDifferences: readonly Accepted[] = [
  {
    // The descriptor is /dev/null here: libvirt takes it, and the start would fail.
    commands: /^dom-fd-associate .* 0$/,
    how: 'nothing',
    reason: 'Disks whose image a client hands over',
  },
  { commands: /^uri$/, how: 'status', reason: 'URI of a private daemon' },
  {
    commands:
      /^(nodeinfo|nodecpustats|nodememstats|freecell|freepages --(all|cellno 0 --pagesize 4$)|vcpuinfo)/,
    how: 'numbers',
    reason: asked,
  },
  {
    commands: /^(capabilities|domcapabilities --virttype qemu( --machine q35)?$|cpu-models x86_64)/,
    how: 'status',
    reason: 'CPU models',
  },
  { commands: /^(hypervisor-)?cpu-baseline @DIR@\/cpus/, how: 'status', reason: 'CPU models' },
  { commands: /^domcapabilities/, how: 'words', reason: ownWords },
  {
    commands: /^net-update net add ip-dhcp-host .*10\.0\.0\.1/,
    how: 'nothing',
    reason: 'Networks that cannot work',
  },
  {
    commands: /^net-update net add-first ip-dhcp-range/,
    how: 'nothing',
    reason: 'Networks that cannot work',
  },
  { commands: /^net-update/, how: 'words', reason: ownWords },
  { commands: /^net-dumpxml net/, how: 'nothing', reason: 'Networks that cannot work' },
  { commands: /(not-xml|no-memory|unknown)\.xml/, how: 'status', reason: ownWords },
  { commands: /^metadata guest urn:two --key two --set '<b>'/, how: 'status', reason: ownWords },
  { commands: /^domblkstat guest vda/, how: 'numbers', reason: asked },
  { commands: /^dompmwakeup/, how: 'status', reason: ownWords },
  { commands: /^dom(stats|memstat)/, how: 'status', reason: 'Statistics of domains' },
  { commands: /^dumpxml guest --migratable/, how: 'status', reason: 'Migratable XML' },
  { commands: /^dumpxml guest$/, how: 'status', reason: 'CPU of a running guest' },
  { commands: /^domxml-to-native qemu-argv/, how: 'status', reason: 'Command line of a definition' },
  { commands: /^dominfo/, how: 'status', reason: 'Security labels and cgroups' },
  { commands: /^domifaddr guest --source arp/, how: 'nothing', reason: 'Neighbour tables without entries' },
  { commands: /^qemu-monitor-command/, how: 'status', reason: 'Number of a monitor command' },
  { commands: /^(secret|nwfilter)-define .*same/, how: 'status', reason: ownWords },
  { commands: /^pool-dumpxml pool$/, how: 'status', reason: 'Empty source of a pool' },
  { commands: /^pool-dumpxml pool --inactive/, how: 'status', reason: 'Sizes of a stored pool' },
  { commands: /^pool-info/, how: 'numbers', reason: asked },
  {
    commands:
      /^(pool-(start|delete) pool|find-storage-pool-sources(-as)? nonsense|vol-create-as pool odd|vol-clone raw copy)/,
    how: 'status',
    reason: ownWords,
  },
  { commands: /^vol-(list pool --details|info thin)/, how: 'numbers', reason: asked },
  { commands: /^vol-dumpxml/, how: 'status', reason: 'Facts of a volume' },
  {
    commands: /^vol-resize thin/,
    how: 'nothing',
    reason: 'Deleting or changing a volume that a running guest or another volume uses',
  },
  { commands: /^blkdeviotune tuned vda --live/, how: 'status', reason: 'Group of the limits of a disk' },
  { commands: /^domblklist tuned/, how: 'nothing', reason: 'Place of a disk that was plugged in' },
  { commands: /^(blkdeviotune|blockresize|domblkthreshold) tuned nothing/, how: 'words', reason: ownWords },
  { commands: /^(attach-disk tuned|detach-device-alias tuned nothing)/, how: 'status', reason: ownWords },
  { commands: /^domjobinfo/, how: 'numbers', reason: asked },
  { commands: /^backup-dumpxml keeper/, how: 'status', reason: 'Disks of a backup at work' },
  { commands: /^(save keeper|restore) @DIR@\/missing/, how: 'status', reason: ownWords },
  {
    commands: /^save-image-define .*keeper\.xml/,
    how: 'nothing',
    reason: 'A definition without addresses for a saved state',
  },
  { commands: /events\.out/, how: 'nothing', reason: 'Events around a stop' },
];
