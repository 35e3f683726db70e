/** Labels, key wrapping and id maps. Mapped here; the driver says what it cannot honour. */
import {
  attr,
  child,
  children,
  childText,
  type Infer,
  object,
  required,
  wrapped,
} from '../../base/xml/codec.ts';
import { oneOf, onOff, str, uint, yesNo } from '../../base/xml/scalars.ts';

const uint32 = uint({ max: 2 ** 32 - 1 });

const seclabelCodec = object({
  type: attr('type', oneOf('none', 'dynamic', 'static')),
  model: attr('model', str({ max: 255 })),
  relabel: attr('relabel', yesNo),
  label: childText('label', str()),
  baselabel: childText('baselabel', str()),
  imagelabel: childText('imagelabel', str()),
});

export type Seclabel = Infer<typeof seclabelCodec>;

export const seclabels = children('seclabel', seclabelCodec);

export const keywrap = wrapped(
  'keywrap',
  children(
    'cipher',
    object({
      name: required(attr('name', oneOf('aes', 'dea')), 'name'),
      state: required(attr('state', onOff), 'state'),
    }),
  ),
);

const range = object({
  start: required(attr('start', uint32), 'start'),
  target: required(attr('target', uint32), 'target'),
  count: required(attr('count', uint32), 'count'),
});

export const idmap = child('idmap', object({ uids: children('uid', range), gids: children('gid', range) }));
