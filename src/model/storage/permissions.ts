/** `<permissions>` and `<timestamps>` of pools and volumes. */
import { child, childText, type Infer, object } from '../../base/xml/codec.ts';
import { int, matching, str } from '../../base/xml/scalars.ts';
import { octalMode } from './names.ts';

/** Numeric ids; -1 stands for "as it comes". */
const id = int({ min: -1, max: 0xffff_fffe });

const permissionsCodec = object({
  mode: childText('mode', octalMode),
  owner: childText('owner', id),
  group: childText('group', id),
  /** SELinux label. */
  label: childText('label', str({ max: 4096 })),
});
export type Permissions = Infer<typeof permissionsCodec>;
export const permissions = child('permissions', permissionsCodec);

/** Seconds since 1970 with up to nine decimals. */
const moment = matching(/^\d{1,12}(\.\d{0,9})?$/, 'a time in seconds since 1970');

const timestampsCodec = object({
  atime: childText('atime', moment),
  mtime: childText('mtime', moment),
  ctime: childText('ctime', moment),
  btime: childText('btime', moment),
});
export type Timestamps = Infer<typeof timestampsCodec>;
export const timestamps = child('timestamps', timestampsCodec);
