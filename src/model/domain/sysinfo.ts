/** What SMBIOS tells the guest about its board, and blobs for fw_cfg. */
import {
  attr,
  child,
  children,
  type Infer,
  object,
  required,
  text,
  variants,
  wrapped,
} from '../../base/xml/codec.ts';
import { longText, matching, oneOf, path } from '../../base/xml/scalars.ts';

const value = text(longText(4096));

/** A block whose entries have names out of a closed list (domaincommon.rng, sysinfo-*-name). */
function entries<const T extends string>(...names: readonly T[]) {
  return children('entry', object({ name: required(attr('name', oneOf(...names)), 'name'), value }));
}

const smbios = object({
  bios: wrapped('bios', entries('vendor', 'version', 'date', 'release')),
  system: wrapped('system', entries('manufacturer', 'product', 'version', 'serial', 'uuid', 'sku', 'family')),
  baseBoards: children(
    'baseBoard',
    object({ entries: entries('manufacturer', 'product', 'version', 'serial', 'asset', 'location') }),
  ),
  chassis: child(
    'chassis',
    object({ entries: entries('manufacturer', 'version', 'serial', 'asset', 'sku') }),
  ),
  oemStrings: wrapped('oemStrings', children('entry', object({ value }))),
});

/** QEMU's docs/specs/fw_cfg.rst: user items are named opt/…; at most 55 characters. */
const fwcfgName = matching(/^[!-+\--~]{1,55}$/, 'the name of a fw_cfg item');

const fwcfg = object({
  entries: children(
    'entry',
    object({ name: required(attr('name', fwcfgName), 'name'), file: attr('file', path), value }),
  ),
});

const sysinfoCodec = variants('type', { smbios, fwcfg });

export type Sysinfo = Infer<typeof sysinfoCodec>;

export const sysinfo = children('sysinfo', sysinfoCodec);
