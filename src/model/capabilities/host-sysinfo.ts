/** What the firmware says of the host, in libvirt's sysinfo document. */
import { formatXml, type XmlElement } from '../../base/xml/tree.ts';
import { element } from './parts.ts';

/** Entries of a block by libvirt's names; those without a value are left out. */
export type SysinfoBlock = Readonly<Record<string, string | undefined>>;

export interface HostSysinfo {
  readonly bios: SysinfoBlock;
  readonly system: SysinfoBlock;
  readonly baseBoards: readonly SysinfoBlock[];
  readonly chassis: SysinfoBlock;
  readonly processors: readonly SysinfoBlock[];
  readonly memoryDevices: readonly SysinfoBlock[];
  readonly oemStrings: readonly string[];
}

/** Prints it as libvirt does; blocks that are empty are left out. */
export function formatHostSysinfo(info: HostSysinfo): string {
  const { bios, system, baseBoards, chassis, processors, memoryDevices, oemStrings } = info;
  return formatXml(
    element('sysinfo', { type: 'smbios' }, [
      block('bios', bios),
      block('system', system),
      ...baseBoards.map((one) => block('baseBoard', one)),
      block('chassis', chassis),
      ...processors.map((one) => block('processor', one)),
      ...memoryDevices.map((one) => block('memory_device', one)),
      oemStrings.length === 0
        ? undefined
        : element(
            'oemStrings',
            {},
            oemStrings.map((text) => element('entry', {}, [text])),
          ),
    ]),
  );
}

function block(name: string, entries: SysinfoBlock): XmlElement | undefined {
  const children = Object.entries(entries).flatMap(([key, value]) =>
    value === undefined || value === '' ? [] : [element('entry', { name: key }, [value])],
  );
  return children.length === 0 ? undefined : element(name, {}, children);
}
