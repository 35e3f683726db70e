/** Which object a definition that comes in may replace. */
import type { ParseMode } from '../../base/xml/codec.ts';

export interface ReplaceOptions {
  /**
   * A document without uuid redefines the object of its name (for secrets, of its use), as on our own API; libvirt refuses
   * that. When left out: if the mode is strict, as it is for all that is made here.
   */
  readonly byName?: boolean;
}

export const replacesByName = (mode: ParseMode, { byName = mode === 'strict' }: ReplaceOptions): boolean =>
  byName;
