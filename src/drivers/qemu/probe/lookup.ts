/** What a binary offers as sets, made once for each probe: lists of thousands are asked for at every define and start. */
import type { QemuCapabilities } from './types.ts';

export interface CapabilityLookup {
  readonly devices: ReadonlySet<string>;
  readonly objects: ReadonlySet<string>;
  readonly schema: ReadonlySet<string>;
}

// A probe's result never changes; another probe is another object.
const lookups = new WeakMap<QemuCapabilities, CapabilityLookup>();

export function lookupOf(capabilities: QemuCapabilities): CapabilityLookup {
  const known = lookups.get(capabilities);
  if (known !== undefined) return known;
  const made = {
    devices: new Set(capabilities.devices),
    objects: new Set(capabilities.objects),
    schema: new Set(capabilities.schema),
  };
  lookups.set(capabilities, made);
  return made;
}
