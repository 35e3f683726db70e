/** Domains as this API shows them: summaries and details made of the service's objects. */
import type { Result } from '../../../api/index.ts';
import { type ChardevSource, isSerialConsole } from '../../../model/domain/devices/chardev.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Interface } from '../../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { FoundAddresses } from '../../services/guest-addresses.ts';
import type { QuarantinedFile } from '../../state/definitions.ts';

export type DomainSummary = Result<'domain.list'>['domains'][number];
export type DomainDetails = Result<'domain.get'>;
type Devices = DomainDef['devices'];

export function summaryOf(domains: DomainService, domain: Domain): DomainSummary {
  const facts = domains.facts(domain);
  return {
    ...domain.identity,
    state: domain.state.state,
    reason: domain.state.reason,
    active: domain.isActive,
    persistent: domain.isPersistent,
    autostart: domain.autostart,
    saved: domains.saves.hasManagedSave(domain),
    title: facts?.title ?? null,
    memoryBytes: facts?.memoryBytes ?? 0,
    vcpus: facts?.vcpus ?? 0,
    virtType: facts?.virtType ?? 'unknown',
    job: jobOf(domain),
  };
}

export function jobOf(domain: Domain): DomainSummary['job'] {
  const job = domain.currentJob;
  return job === undefined ? null : { name: job.name, startedAt: new Date(job.startedAtMs).toISOString() };
}

export function detailsOf(domains: DomainService, domain: Domain): DomainDetails {
  const definition = domains.definitions.definition(domain);
  const { devices } = definition;
  const record = domain.live?.guest.record;
  return {
    ...summaryOf(domains, domain),
    ...hardwareOf(definition),
    pid: record?.pid ?? null,
    startedAt: record === undefined ? null : new Date(record.startedAtMs).toISOString(),
    lastExit: lastExitOf(domain),
    disks: devices.disks.map((disk) => diskOf(disk)),
    interfaces: devices.interfaces.map((nic) => interfaceOf(nic)),
    consoles: consolesOf(devices),
    graphics: devices.graphics.map((graphics) => graphicsOf(graphics)),
    portForwards: domains.controls.portForwards(domain),
  };
}

function lastExitOf({ lastExit }: Domain): DomainDetails['lastExit'] {
  if (lastExit === undefined) return null;
  const { reason, atMs, log = '', how = '' } = lastExit;
  return { reason, at: new Date(atMs).toISOString(), log, how: how === 'unknown' ? '' : how };
}

function hardwareOf(definition: DomainDef) {
  const { memory, currentMemoryKiB, vcpu, os, devices } = definition;
  return {
    title: definition.title ?? null,
    description: definition.description ?? null,
    memoryBytes: memory.sizeKiB * 1024,
    currentMemoryBytes: (currentMemoryKiB ?? memory.sizeKiB) * 1024,
    vcpus: vcpu.current ?? vcpu.count,
    maxVcpus: vcpu.count,
    virtType: definition.type,
    arch: os.type.arch ?? 'unknown',
    machine: os.type.machine ?? null,
    emulator: devices.emulator ?? null,
  };
}

function diskOf(disk: Disk): DomainDetails['disks'][number] {
  return {
    target: disk.target.dev,
    alias: disk.alias ?? null,
    device: disk.device,
    bus: disk.target.bus ?? null,
    sourceType: disk.source.type,
    source: diskSourceText(disk.source),
    format: disk.driver?.type ?? null,
    readonly: disk.readonly === true || disk.device === 'cdrom',
  };
}

/** What a person calls the image. */
function diskSourceText(source: Disk['source']): string | null {
  switch (source.type) {
    case 'file':
      return source.file ?? null;
    case 'block':
      return source.dev ?? null;
    case 'dir':
      return source.dir ?? null;
    case 'network':
      return source.name === undefined ? source.protocol : `${source.protocol}:${source.name}`;
    case 'volume':
      return source.pool === undefined ? null : `${source.pool}/${source.volume ?? ''}`;
    case 'nvme':
      return `nvme namespace ${source.namespace}`;
    case 'vhostuser':
      return source.path;
  }
}

function interfaceOf(nic: Interface): DomainDetails['interfaces'][number] {
  return {
    alias: nic.alias ?? null,
    type: nic.source.type,
    mac: nic.mac?.address ?? null,
    model: nic.model ?? null,
    source: interfaceSourceText(nic.source),
    target: nic.target?.dev ?? null,
    address: nic.source.type === 'user' ? userAddressOf(nic) : null,
  };
}

/** The user network leases its first address to its one guest (QEMU: -netdev user, dhcpstart), or the one asked for. */
function userAddressOf(nic: Interface): string {
  return nic.ips.find((ip) => !ip.address.includes(':'))?.address ?? '10.0.2.15';
}

function interfaceSourceText(source: Interface['source']): string | null {
  switch (source.type) {
    case 'network':
      return source.network;
    case 'bridge':
      return source.bridge;
    case 'direct':
    case 'vdpa':
      return source.dev;
    case 'internal':
      return source.name;
    case 'vhostuser':
      return source.path;
    case 'mcast':
    case 'client':
    case 'server':
    case 'udp':
      return `${source.address ?? ''}:${source.port}`;
    case 'user':
    case 'ethernet':
    case 'hostdev':
    case 'null':
      return null;
  }
}

interface CharacterDevice {
  readonly alias?: string | undefined;
  readonly source: ChardevSource;
}

/** Serial ports first: `domain.console` takes the first of them when none is named. */
function consolesOf(devices: Devices): DomainDetails['consoles'] {
  return [
    ...devices.serials.map((device) => consoleOf('serial', device, device.target?.type)),
    ...devices.parallels.map((device) => consoleOf('parallel', device, undefined)),
    // The first console is only another name for the first serial port, and is shown once.
    ...otherConsoles(devices).map((device) => consoleOf('console', device, device.target?.type)),
    ...devices.channels.map((device) =>
      consoleOf('channel', device, 'name' in device.target ? device.target.name : device.target.type),
    ),
  ];
}

function otherConsoles(devices: Devices): Devices['consoles'] {
  return devices.serials.length === 0
    ? devices.consoles
    : devices.consoles.filter((device) => !isSerialConsole(device));
}

function consoleOf(
  kind: DomainDetails['consoles'][number]['kind'],
  device: CharacterDevice,
  target: string | undefined,
): DomainDetails['consoles'][number] {
  const { source } = device;
  const path = 'path' in source ? (source.path ?? null) : null;
  return { alias: device.alias ?? null, kind, backend: source.type, target: target ?? null, path };
}

function graphicsOf(graphics: Devices['graphics'][number]): DomainDetails['graphics'][number] {
  const listen = 'listens' in graphics ? graphics.listens[0] : undefined;
  return {
    type: graphics.type,
    listen: listen !== undefined && 'address' in listen ? (listen.address ?? null) : null,
    port: 'port' in graphics ? (graphics.port ?? null) : null,
    tlsPort: 'tlsPort' in graphics ? (graphics.tlsPort ?? null) : null,
    socket: listen?.type === 'socket' ? (listen.socket ?? null) : null,
  };
}

export function quarantinedOf(file: QuarantinedFile): Result<'domain.list'>['quarantined'][number] {
  return {
    file: file.path,
    uuid: file.uuid ?? null,
    reason: file.reason,
    at: new Date(file.atMs).toISOString(),
  };
}

export function addressesOf({ interfaces, silent }: FoundAddresses): Result<'domain.addresses'> {
  return {
    interfaces: interfaces.map((nic) => ({
      alias: nic.alias ?? null,
      device: nic.hostDevice ?? null,
      guestName: nic.guestName ?? null,
      mac: nic.mac ?? null,
      network: nic.network ?? null,
      addresses: nic.addresses.map(({ address, prefix, family, sources, isConfirmed, hostName }) => ({
        address,
        prefix: prefix ?? null,
        family: `ipv${family}`,
        sources: [...sources],
        confirmed: isConfirmed,
        hostName: hostName ?? null,
      })),
    })),
    silent: [...silent],
  };
}
