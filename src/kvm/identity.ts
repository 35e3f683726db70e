/** Who the host is: SMBIOS strings, and the uuid by which clients tell hosts apart. */
import { createHmac } from 'node:crypto';
import type { HostFiles } from './host-files.ts';

/** SMBIOS strings as the kernel shows them in /sys/class/dmi/id; serial numbers are readable for root only. */
export interface Smbios {
  readonly bios: SmbiosBlock;
  readonly system: SmbiosBlock;
  readonly baseBoard: SmbiosBlock;
  readonly chassis: SmbiosBlock;
}

/** Entry names as in libvirt's sysinfo element (vendor, version, date, manufacturer, product, serial, uuid, ...). */
type SmbiosBlock = Readonly<Record<string, string>>;

const dmiDirectory = '/sys/class/dmi/id';

/** File in /sys/class/dmi/id by block and entry (drivers/firmware/dmi-id.c). */
const smbiosFiles = {
  bios: { vendor: 'bios_vendor', version: 'bios_version', date: 'bios_date', release: 'bios_release' },
  system: {
    manufacturer: 'sys_vendor',
    product: 'product_name',
    version: 'product_version',
    serial: 'product_serial',
    uuid: 'product_uuid',
    sku: 'product_sku',
    family: 'product_family',
  },
  baseBoard: {
    manufacturer: 'board_vendor',
    product: 'board_name',
    version: 'board_version',
    serial: 'board_serial',
    asset: 'board_asset_tag',
  },
  chassis: {
    manufacturer: 'chassis_vendor',
    version: 'chassis_version',
    serial: 'chassis_serial',
    asset: 'chassis_asset_tag',
    type: 'chassis_type',
  },
} as const;

/** What is readable of the SMBIOS strings; undefined on a host without SMBIOS. */
export function readSmbios(files: HostFiles): Smbios | undefined {
  if (!files.exists(dmiDirectory)) return undefined;
  const block = (names: Readonly<Record<string, string>>): SmbiosBlock =>
    Object.fromEntries(
      Object.entries(names)
        .map(([entry, file]) => [entry, files.read(`${dmiDirectory}/${file}`)?.trim() ?? ''] as const)
        .filter(([, value]) => value !== ''),
    );
  return {
    bios: block(smbiosFiles.bios),
    system: block(smbiosFiles.system),
    baseBoard: block(smbiosFiles.baseBoard),
    chassis: block(smbiosFiles.chassis),
  };
}

export interface HostUuid {
  readonly value: string;
  /** Where it comes from; one made from the host's name is not unique where names are not. */
  readonly source: 'configured' | 'smbios' | 'machine-id' | 'hostname';
}

/** The host's uuid: SMBIOS where that is believable, else made from the machine id, else from the host's name. */
export function readHostUuid(files: HostFiles, hostname: string): HostUuid {
  const smbios = files.read(`${dmiDirectory}/product_uuid`)?.trim().toLowerCase();
  if (smbios !== undefined && isBelievable(smbios)) return { value: smbios, source: 'smbios' };
  const machineId = (files.read('/etc/machine-id') ?? files.read('/var/lib/dbus/machine-id'))?.trim();
  if (machineId !== undefined && /^[0-9a-f]{32}$/.test(machineId))
    return { value: deriveUuid(machineId), source: 'machine-id' };
  return { value: deriveUuid(hostname), source: 'hostname' };
}

/** Boards ship with all-same digits, or with the sample of the AMI firmware kit. */
function isBelievable(uuid: string): boolean {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) return false;
  const digits = uuid.replaceAll('-', '');
  return !/^(.)\1*$/.test(digits) && !uuid.startsWith('03000200-0400-0500-0006');
}

/**
 * A stable uuid (RFC 9562 version 8) of a secret: machine-id(5) asks never to show the id itself, but a keyed hash of
 * it.
 */
function deriveUuid(secret: string): string {
  const bytes = createHmac('sha256', secret).update('vireo host uuid').digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
