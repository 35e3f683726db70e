/** What a read-only connection may call, by the rights that each procedure of the protocol needs. */
import type { Call } from './protocol/procedure.ts';

/** Flags that raise a call of mere reading: bits of `flags` (libvirt-domain.h, ...-snapshot.h, ...-checkpoint.h). */
const raisingFlags: Readonly<Record<string, number>> = {
  VIR_DOMAIN_XML_SECURE: 1,
  VIR_DOMAIN_XML_MIGRATABLE: 8,
  VIR_DOMAIN_SNAPSHOT_XML_SECURE: 1,
  VIR_DOMAIN_SAVE_IMAGE_XML_SECURE: 1,
  VIR_DOMAIN_CHECKPOINT_XML_SECURE: 1,
  VIR_DOMAIN_VCPU_GUEST: 8,
};

/** Values of other arguments that raise it. */
const raisingValues: Readonly<Record<string, number>> = {
  VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT: 1,
};

/**
 * Calls whose rights say one thing and libvirt's library another; the library decides what an old client may rely on.
 * Setting a scheduler and reading SEV's facts need write access there, two facts of migration do not.
 */
const exceptions: Readonly<Record<string, boolean>> = {
  domainSetSchedulerParameters: false,
  nodeGetSevInfo: false,
  domainMigrateGetCompressionCache: true,
  domainMigrateGetMaxDowntime: true,
};

const isReading = (permission: string) =>
  permission === 'read' || permission === 'getattr' || permission.startsWith('search_');

/** True when a read-only connection may make this call with these arguments. */
export function isAllowedReadOnly(name: string, { acl }: Pick<Call, 'acl'>, args: unknown): boolean {
  const exception = exceptions[name];
  if (exception !== undefined) return exception;
  return acl.every((right) => {
    const [, permission = '', flag = '', argument, value = ''] = right.split(':');
    if (isReading(permission)) return true;
    const given = (args ?? {}) as Readonly<Record<string, unknown>>;
    if (argument !== undefined) return given[argument] !== raisingValues[value];
    const bit = raisingFlags[flag];
    return bit !== undefined && typeof given['flags'] === 'number' && (given['flags'] & bit) === 0;
  });
}

/** Words that libvirt's API writes in its own way, inside the names of functions. */
const spellings: readonly (readonly [RegExp, string])[] = [
  [/Xml/g, 'XML'],
  [/Uuid/g, 'UUID'],
  [/Uri(?=$|[A-Z])/g, 'URI'],
  [/Os(?=Type)/g, 'OS'],
  [/Nmi/g, 'NMI'],
  [/Cpu/g, 'CPU'],
  [/Dhcp/g, 'DHCP'],
  [/[Nn]wfilter/g, 'NWFilter'],
  [/Ssh/g, 'SSH'],
  [/Sev/g, 'SEV'],
  [/MacString/g, 'MACString'],
  [/ScsiHostByWwn/g, 'SCSIHostByWWN'],
  [/Iothread/g, 'IOThread'],
  [/Fsinfo/g, 'FSInfo'],
  [/Fstrim/g, 'FSTrim'],
  [/Fsfreeze/g, 'FSFreeze'],
  [/Fsthaw/g, 'FSThaw'],
  [/Fd(?=$|[A-Z])/g, 'FD'],
  [/Pm(?=[SW])/g, 'PM'],
  [/ById/g, 'ByID'],
];

/** The function of libvirt's API behind a procedure, as its error texts name it: virDomainGetXMLDesc. */
export function apiFunction(name: string): string {
  const spelled = spellings.reduce((text, [from, to]) => text.replace(from, to), name);
  return `vir${spelled.charAt(0).toUpperCase()}${spelled.slice(1)}`;
}
