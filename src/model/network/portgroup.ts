/** `<portgroup>`: settings that an interface takes over by naming the group. */
import { attr, children, type Infer, object } from '../../base/xml/codec.ts';
import { matching, yesNo } from '../../base/xml/scalars.ts';
import { need } from '../domain/devices/combinators.ts';
import { bandwidth, virtualport, vlan } from '../domain/devices/interface-parts.ts';

export const portgroupCodec = object({
  name: need('name', matching(/^[A-Za-z0-9_.\-\\:/]{1,64}$/, 'the name of a port group')),
  /** Taken by interfaces that name no group. */
  default: attr('default', yesNo),
  trustGuestRxFilters: attr('trustGuestRxFilters', yesNo),
  virtualport,
  bandwidth,
  vlan,
});
export type Portgroup = Infer<typeof portgroupCodec>;
export const portgroups = children('portgroup', portgroupCodec, 1024);
