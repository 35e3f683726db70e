/**
 * When a guest starts and ends with its host, beside the others: kept in the definition's metadata, where libvirt and its
 * tools leave it alone.
 */
import { xmlElement } from '../../base/xml/tree.ts';
import type { DomainDef } from './domain.ts';
import { findMetadata, withMetadata } from './metadata.ts';

export const powerOrderNamespace = 'urn:vireo:domain:power:1';
const PREFIX = 'vireo-power';

/** What happens to a running guest when the host goes down. `leave`: nothing, its end is the host's. */
export const hostDownActions = ['shutdown', 'save', 'destroy', 'leave'] as const;
export type HostDownAction = (typeof hostDownActions)[number];

export interface PowerOrder {
  /** Lower numbers start first and end last; guests of one number end together. 0 where nothing is said. */
  readonly order: number;
  /** Seconds before the next guest starts after this one has. */
  readonly startDelaySeconds: number;
  /** Undefined: as the caller of the shutdown says. */
  readonly hostDown: HostDownAction | undefined;
  /** How long it may take to shut down; undefined: as the caller says. */
  readonly timeoutSeconds: number | undefined;
}

const nothingSaid: PowerOrder = {
  order: 0,
  startDelaySeconds: 0,
  hostDown: undefined,
  timeoutSeconds: undefined,
};

/** What the definition says; what makes no sense there counts as not said. */
export function powerOrderOf({ metadata }: Pick<DomainDef, 'metadata'>): PowerOrder {
  const element = findMetadata(metadata, powerOrderNamespace);
  if (element === undefined) return nothingSaid;
  const number = (name: string, max: number): number | undefined => {
    const text = element.attrs.get(name);
    const value = text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : undefined;
    return value !== undefined && value <= max ? value : undefined;
  };
  const hostDown = hostDownActions.find((action) => action === element.attrs.get('host-down'));
  return {
    order: number('order', 999_999) ?? 0,
    startDelaySeconds: number('start-delay', 86_400) ?? 0,
    hostDown,
    timeoutSeconds: number('timeout', 86_400),
  };
}

/** The definition with that order; nothing of it stands there where nothing is said. */
export function withPowerOrder(definition: DomainDef, power: PowerOrder): DomainDef {
  const said: [string, string][] = [
    ...(power.order === 0 ? [] : [['order', String(power.order)] as [string, string]]),
    ...(power.startDelaySeconds === 0
      ? []
      : [['start-delay', String(power.startDelaySeconds)] as [string, string]]),
    ...(power.hostDown === undefined ? [] : [['host-down', power.hostDown] as [string, string]]),
    ...(power.timeoutSeconds === undefined
      ? []
      : [['timeout', String(power.timeoutSeconds)] as [string, string]]),
  ];
  const replacement =
    said.length === 0 ? undefined : { element: xmlElement('power', said, []), prefix: PREFIX };
  if (replacement === undefined && findMetadata(definition.metadata, powerOrderNamespace) === undefined)
    return definition;
  return { ...definition, metadata: withMetadata(definition.metadata, powerOrderNamespace, replacement) };
}
