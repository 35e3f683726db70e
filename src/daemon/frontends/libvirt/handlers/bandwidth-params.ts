/** Limits of network cards and ports as typed parameters: KiB/s, and KiB for bursts (virDomainInterfaceParameters). */
import type { TypedParam } from '../../../../libvirt/protocol/objects.ts';
import type { Bandwidth } from '../../../../model/network/connection.ts';
import type { BandwidthWish } from '../../../services/domain-interfaces.ts';
import { type ParamTable, uint } from './params.ts';
import { invalid } from './support.ts';

type Direction = 'inbound' | 'outbound';

/** In the order in which clients see them; a guaranteed share (`floor`) only comes in. */
const fields = {
  inbound: ['average', 'peak', 'burst', 'floor'],
  outbound: ['average', 'peak', 'burst'],
} as const;

const directions = ['inbound', 'outbound'] as const;

export const limitTable: ParamTable = Object.fromEntries(
  directions.flatMap((direction) => fields[direction].map((field) => [`${direction}.${field}`, 'uint'])),
);

/** All of them; what is not limited is 0. */
export function limitParams(bandwidth: Bandwidth | undefined): TypedParam[] {
  return directions.flatMap((direction) => {
    const rates: Readonly<Record<string, number | undefined>> = bandwidth?.[direction] ?? {};
    return fields[direction].map((field) => uint(`${direction}.${field}`, rates[field] ?? 0));
  });
}

/**
 * What a client's parameters ask for. A direction that is named is set as a whole: without an average, or with one of 0
 * (and no guaranteed share), its limit goes. One that is not named stays.
 * @throws LibvirtError for a peak or burst without an average
 */
export function limitWish(
  given: ReadonlyMap<string, number | string>,
  before: Bandwidth | undefined,
): BandwidthWish {
  return Object.fromEntries(
    directions.flatMap((direction) => {
      const rates = ratesOf(direction, given);
      return rates === undefined ? [] : [[direction, checked(direction, rates, before)]];
    }),
  );
}

type Rates = Partial<Record<'average' | 'peak' | 'burst' | 'floor', number>>;

/** What was said of a direction, without zeros; undefined when it was not named. */
function ratesOf(direction: Direction, given: ReadonlyMap<string, number | string>): Rates | undefined {
  const named = fields[direction].filter((field) => given.has(`${direction}.${field}`));
  if (named.length === 0) return undefined;
  const rates: Rates = {};
  for (const field of named) {
    const value = Number(given.get(`${direction}.${field}`));
    if (value > 0) rates[field] = value;
  }
  return rates;
}

function checked(direction: Direction, rates: Rates, before: Bandwidth | undefined) {
  const { average, floor } = rates;
  if (average === undefined && floor === undefined) {
    if (rates.peak === undefined && rates.burst === undefined) return null;
    const known = before?.[direction]?.average;
    if (known === undefined) throw invalid(`${direction}.peak and ${direction}.burst need an average`);
    return { ...rates, average: known };
  }
  return rates;
}
