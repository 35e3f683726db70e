/** Every path of the daemon, computed once from mode, root and environment. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { VirtError } from '../base/errors.ts';

export type DaemonMode = 'system' | 'session';

/** All paths are absolute. */
export interface DaemonPaths {
  readonly mode: DaemonMode;
  /** The directory given with --root, below which everything lies. */
  readonly root: string | undefined;
  readonly runtime: string;
  readonly config: string;
  readonly data: string;
  readonly logs: string;
  readonly cache: string;
  /** The JSON-RPC socket. */
  readonly socket: string;
  /** The lock that makes this daemon the only one on these paths; it also holds its pid. */
  readonly lock: string;
  readonly configFile: string;
  /** Stored definitions, UUID.xml. */
  readonly definitions: string;
  /** Stored networks, UUID.xml. */
  readonly networks: string;
  /** Stored network filters, UUID.xml. */
  readonly nwfilters: string;
  /** Stored network filters that could not be read. */
  readonly nwfilterQuarantine: string;
  /** Stored secrets without their values, UUID.xml. */
  readonly secrets: string;
  /** Stored secrets that could not be read. */
  readonly secretQuarantine: string;
  /** Values of stored secrets, UUID.base64. */
  readonly secretValues: string;
  /** Names and keys of those who come in by SASL. */
  readonly saslUsers: string;
  /** Stored networks that could not be read. */
  readonly networkQuarantine: string;
  /** Runtime status of networks, UUID.json. */
  readonly networkStatus: string;
  /** Tells that the network `default` was defined once: who takes it away does not get it back. */
  readonly defaultNetworkMarker: string;
  /** Stored storage pools, UUID.xml. */
  readonly pools: string;
  /** Stored pools that could not be read. */
  readonly poolQuarantine: string;
  /** Runtime status of pools, UUID.json. */
  readonly poolStatus: string;
  /** Tells that the pool `default` was defined once: who takes it away does not get it back. */
  readonly defaultPoolMarker: string;
  /** Of which format each volume is, one file for each place. */
  readonly volumeFormats: string;
  /** Headers of volumes, read before. */
  readonly volumeHeaders: string;
  /** Images of the catalogue that were pulled, one file for each. */
  readonly pulledImages: string;
  /** Where imports wait for pools that are no directories. */
  readonly importStaging: string;
  /** Configuration and leases of dnsmasq, where libvirt's name service module looks for them. */
  readonly dnsmasq: string;
  /** Stored files that could not be read. */
  readonly quarantine: string;
  /** Runtime status of guests, UUID.json. */
  readonly status: string;
  /** Which guest has which device of the host, one file each. */
  readonly hostDevices: string;
  /** Private runtime directories of guests. */
  readonly guests: string;
  readonly nvram: string;
  /** Saved states of stored domains, UUID.save. */
  readonly saves: string;
  readonly tpm: string;
  /** Snapshots of domains, UUID/NAME.xml. */
  readonly snapshots: string;
  /** Backups that are being made, UUID.json. */
  readonly backupsInWork: string;
  /** Plans of backups, NAME.json. */
  readonly backupPlans: string;
  /** Checkpoints of domains, UUID/NAME.xml. */
  readonly checkpoints: string;
  readonly guestLogs: string;
  /** What happened around each guest lately, UUID.new and UUID.old. */
  readonly flightRecords: string;
  /** What guests used, UUID.ring. */
  readonly history: string;
  /** What is kept of deleted definitions. */
  readonly undo: string;
  readonly capabilityCache: string;
  /** Scripts of the administrator (in a session: of the user), beside our configuration where libvirt's are. */
  readonly hooks: string;
  /** Stored mediated devices, where mdevctl has them (in a session: beside our configuration). */
  readonly mediatedDevices: string;
  /** Tells which of them were started in this life of the host. */
  readonly mediatedDevicesMarker: string;
  /** Where libvirt has pid files and logs of its guests; used in its place only. */
  readonly libvirtRuntime: string;
  readonly libvirtLogs: string;
  /** Tells that taking over from libvirtd was offered. */
  readonly adoptionOffered: string;
  /** Where images made by our create verbs go: libvirt's `default` pool. */
  readonly images: string;
}

export interface PathOptions {
  readonly mode: DaemonMode;
  readonly root?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
}

/**
 * Computes the paths (docs/architecture.md). Session mode follows the XDG base directories.
 * @throws VirtError config.invalid for a relative root
 */
export function daemonPaths(options: PathOptions): DaemonPaths {
  const { root } = options;
  if (root !== undefined && !root.startsWith('/'))
    throw new VirtError('config.invalid', {
      wanted: 'use the root directory',
      reason: `'${root}' is not an absolute path`,
    });
  const base =
    options.mode === 'system' || root !== undefined ? systemBase(root ?? '') : sessionBase(options);
  const { dataHome: _, ...own } = base;
  return {
    mode: options.mode,
    root,
    ...own,
    ...runtimePaths(base),
    ...configurationPaths(base),
    ...dataPaths(base),
    ...logAndCachePaths(base),
    ...sharedPaths(base),
  };
}

/** Gone when the host starts anew. */
const runtimePaths = ({ runtime }: Base) => ({
  socket: join(runtime, 'vireo.sock'),
  lock: join(runtime, 'vireod.lock'),
  networkStatus: join(runtime, 'networks'),
  poolStatus: join(runtime, 'pools'),
  status: join(runtime, 'status'),
  hostDevices: join(runtime, 'host-devices'),
  guests: join(runtime, 'g'),
  mediatedDevicesMarker: join(runtime, 'mediated-devices-started'),
});

/** What was defined and configured. */
const configurationPaths = ({ config }: Base) => ({
  configFile: join(config, 'vireod.toml'),
  definitions: join(config, 'domains'),
  networks: join(config, 'networks'),
  nwfilters: join(config, 'nwfilters'),
  nwfilterQuarantine: join(config, 'quarantine', 'nwfilters'),
  secrets: join(config, 'secrets'),
  secretQuarantine: join(config, 'quarantine', 'secrets'),
  secretValues: join(config, 'secret-values'),
  saslUsers: join(config, 'sasl-users.json'),
  networkQuarantine: join(config, 'quarantine', 'networks'),
  pools: join(config, 'pools'),
  poolQuarantine: join(config, 'quarantine', 'pools'),
  quarantine: join(config, 'quarantine'),
  backupPlans: join(config, 'backup-plans'),
});

/** What the daemon keeps of its own accord. */
const dataPaths = ({ data }: Base) => ({
  defaultNetworkMarker: join(data, 'default-network-defined'),
  defaultPoolMarker: join(data, 'default-pool-defined'),
  volumeFormats: join(data, 'volume-formats'),
  pulledImages: join(data, 'images'),
  nvram: join(data, 'nvram'),
  saves: join(data, 'saves'),
  tpm: join(data, 'tpm'),
  snapshots: join(data, 'snapshots'),
  checkpoints: join(data, 'checkpoints'),
  backupsInWork: join(data, 'backups-in-work'),
  history: join(data, 'history'),
  undo: join(data, 'undo'),
  adoptionOffered: join(data, 'adoption-offered'),
});

const logAndCachePaths = ({ logs, cache }: Base) => ({
  guestLogs: join(logs, 'qemu'),
  flightRecords: join(logs, 'flight'),
  volumeHeaders: join(cache, 'volume-headers'),
  importStaging: join(cache, 'imports'),
  capabilityCache: join(cache, 'capabilities'),
});

/** Places that libvirt and mdevctl know too. */
const sharedPaths = ({ runtime, config, dataHome, logs }: Base) => ({
  images: join(dataHome, 'libvirt/images'),
  dnsmasq: join(dataHome, 'libvirt/dnsmasq'),
  libvirtRuntime: join(runtime, '../libvirt/qemu'),
  libvirtLogs: join(logs, '../libvirt/qemu'),
  mediatedDevices: join(config, '../mdevctl.d'),
  hooks: join(config, '../libvirt/hooks'),
});

interface Base {
  readonly runtime: string;
  readonly config: string;
  readonly data: string;
  readonly dataHome: string;
  readonly logs: string;
  readonly cache: string;
}

function systemBase(root: string): Base {
  return {
    runtime: `${root}/run/vireo`,
    config: `${root}/etc/vireo`,
    data: `${root}/var/lib/vireo`,
    dataHome: `${root}/var/lib`,
    logs: `${root}/var/log/vireo`,
    cache: `${root}/var/cache/vireo`,
  };
}

function sessionBase(options: PathOptions): Base {
  const environment = options.environment ?? process.env;
  const home = environment['HOME'] || homedir();
  const from = (variable: string, fallback: string) => {
    const value = environment[variable];
    // The specification says: relative paths in these variables are to be ignored.
    return value?.startsWith('/') ? value : join(home, fallback);
  };
  const cache = join(from('XDG_CACHE_HOME', '.cache'), 'vireo');
  const runtimeHome = environment['XDG_RUNTIME_DIR'];
  const dataHome = from('XDG_DATA_HOME', '.local/share');
  return {
    // Without a login session there is no runtime directory; libvirt then uses the cache directory too.
    runtime: runtimeHome?.startsWith('/') ? join(runtimeHome, 'vireo') : join(cache, 'run'),
    config: join(from('XDG_CONFIG_HOME', '.config'), 'vireo'),
    data: join(dataHome, 'vireo'),
    dataHome,
    logs: join(from('XDG_STATE_HOME', '.local/state'), 'vireo/log'),
    cache,
  };
}
