/** A network interface of the host in libvirt's interface XML. Only written: how the host sets it up is not ours. */
import { formatXml, type XmlElement } from '../../base/xml/tree.ts';
import { element } from '../capabilities/parts.ts';

interface Shared {
  readonly name: string;
  readonly mtu: number;
  readonly link: { readonly state: string; readonly speedMbps?: number };
  readonly addresses: readonly {
    readonly family: 4 | 6;
    readonly address: string;
    readonly prefix: number;
  }[];
}

/** What the schema knows; every other kind of interface counts as `ethernet`. */
export type HostInterfaceDef = Shared &
  (
    | { readonly type: 'ethernet'; readonly mac?: string }
    | {
        readonly type: 'bridge';
        readonly hasSpanningTree: boolean;
        /** Forward delay in seconds. */
        readonly delaySeconds: number;
        readonly ports: readonly HostInterfaceDef[];
      }
    | {
        readonly type: 'bond';
        readonly mode?: string;
        readonly miiMonitor?: {
          readonly everyMs: number;
          readonly upDelayMs: number;
          readonly downDelayMs: number;
        };
        readonly ports: readonly HostInterfaceDef[];
      }
    | { readonly type: 'vlan'; readonly tag: number; readonly parent: string }
  );

/** Modes of bonds by the kernel's numbers (linux/if_bonding.h, BOND_MODE_*), in the schema's words. */
export const bondModes = [
  'balance-rr',
  'active-backup',
  'balance-xor',
  'broadcast',
  '802.3ad',
  'balance-tlb',
  'balance-alb',
] as const;

/** Prints an interface as libvirt does (interface.rng). */
export function formatHostInterface(definition: HostInterfaceDef): string {
  return formatXml(whole(definition));
}

function whole(one: HostInterfaceDef): XmlElement {
  return element('interface', { type: one.type, name: one.name }, [
    ...own(one),
    element('mtu', { size: one.mtu }),
    protocol(one, 4),
    protocol(one, 6),
    special(one),
  ]);
}

/** A port of a bridge or bond has neither addresses nor a size of its own in the schema. */
function port(one: HostInterfaceDef): XmlElement {
  const { type, name } = one;
  return element('interface', { type, name }, [...own(one), special(one)]);
}

/** A bridge's link is that of its ports. */
function own(one: HostInterfaceDef): readonly (XmlElement | undefined)[] {
  const { state, speedMbps } = one.link;
  return [
    one.type === 'ethernet' && one.mac !== undefined ? element('mac', { address: one.mac }) : undefined,
    one.type === 'bridge' ? undefined : element('link', { speed: speedMbps, state }),
  ];
}

function protocol({ addresses }: HostInterfaceDef, family: 4 | 6): XmlElement | undefined {
  const ips = addresses.filter((one) => one.family === family);
  if (ips.length === 0) return undefined;
  return element(
    'protocol',
    { family: `ipv${family}` },
    ips.map(({ address, prefix }) => element('ip', { address, prefix })),
  );
}

function special(one: HostInterfaceDef): XmlElement | undefined {
  switch (one.type) {
    case 'ethernet':
      return undefined;
    case 'bridge':
      return element(
        'bridge',
        { stp: one.hasSpanningTree ? 'on' : 'off', delay: one.delaySeconds },
        one.ports.map(port),
      );
    case 'bond':
      return element('bond', { mode: one.mode }, [
        one.miiMonitor &&
          element('miimon', {
            freq: one.miiMonitor.everyMs,
            downdelay: one.miiMonitor.downDelayMs,
            updelay: one.miiMonitor.upDelayMs,
          }),
        ...one.ports.map(port),
      ]);
    case 'vlan':
      return element('vlan', { tag: one.tag }, [element('interface', { name: one.parent })]);
  }
}
