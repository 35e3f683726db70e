/** How much memory a domain has and where it comes from: memory, maxMemory, currentMemory, memoryBacking. */
import {
  attr,
  child,
  childAttr,
  children,
  type Field,
  flag,
  type Infer,
  object,
  required,
} from '../../base/xml/codec.ts';
import { oneOf, onOff, uint } from '../../base/xml/scalars.ts';
import { cpuset } from './cpuset.ts';
import { attrKiB, childKiB, textKiB } from './sizes.ts';

const memoryCodec = object({ dumpCore: attr('dumpCore', onOff), sizeKiB: textKiB });

export type Memory = Infer<typeof memoryCodec>;

/**
 * `<memory>`: all memory at boot, NUMA cells and memory devices included. An absent element is 0 here; parseDomain
 * takes the sum of the NUMA cells then.
 */
export const memory: Field<Memory> = {
  read: (reader) => child('memory', memoryCodec).read(reader) ?? { sizeKiB: 0 },
  write: child('memory', memoryCodec).write,
};

/** `<maxMemory>`: the ceiling for memory devices, and in how many slots they fit. */
export const maxMemory = child(
  'maxMemory',
  object({ slots: required(attr('slots', uint({ max: 255 })), 'slots'), sizeKiB: textKiB }),
);

/** `<currentMemory>`: what the balloon leaves the guest at boot. */
export const currentMemoryKiB = childKiB('currentMemory');

const pageCodec = object({
  sizeKiB: required(attrKiB('size'), 'size'),
  nodeset: attr('nodeset', cpuset),
});

export const memoryBacking = child(
  'memoryBacking',
  object({
    hugepages: child('hugepages', object({ pages: children('page', pageCodec) })),
    nosharepages: flag('nosharepages'),
    locked: flag('locked'),
    source: childAttr('source', 'type', oneOf('file', 'anonymous', 'memfd')),
    access: childAttr('access', 'mode', oneOf('shared', 'private')),
    allocation: child(
      'allocation',
      object({
        mode: attr('mode', oneOf('immediate', 'ondemand')),
        threads: attr('threads', uint({ min: 1, max: 1024 })),
      }),
    ),
    discard: flag('discard'),
  }),
);
