/** The guest's NUMA topology: cells, distances, caches and interconnects (`<cpu><numa>`). */
import { attr, child, children, type Infer, object, required, wrapped } from '../../base/xml/codec.ts';
import { oneOf, uint, yesNo } from '../../base/xml/scalars.ts';
import { cpuset } from './cpuset.ts';
import { attrKiB, unitAttr } from './sizes.ts';

const uint32 = uint({ max: 2 ** 32 - 1 });

/** QEMU's MAX_NODES (include/sysemu/numa.h). */
const MAX_CELLS = 128;

const cellId = uint({ max: MAX_CELLS - 1 });

const sizeWithUnit = object({
  value: required(attr('value', uint32), 'value'),
  unit: required(unitAttr, 'unit'),
});

const cell = object({
  id: attr('id', cellId),
  cpus: attr('cpus', cpuset),
  memoryKiB: required(attrKiB('memory'), 'memory'),
  memAccess: attr('memAccess', oneOf('shared', 'private')),
  discard: attr('discard', yesNo),
  distances: wrapped(
    'distances',
    children(
      'sibling',
      object({
        id: required(attr('id', cellId), 'id'),
        /** ACPI SLIT: 10 is local, 255 unreachable. */
        value: required(attr('value', uint({ min: 10, max: 255 })), 'value'),
      }),
    ),
  ),
  caches: children(
    'cache',
    object({
      level: required(attr('level', uint32), 'level'),
      associativity: required(attr('associativity', oneOf('none', 'direct', 'full')), 'associativity'),
      policy: required(attr('policy', oneOf('none', 'writeback', 'writethrough')), 'policy'),
      size: required(child('size', sizeWithUnit), 'size'),
      line: required(child('line', sizeWithUnit), 'line'),
    }),
  ),
});

export type NumaCell = Infer<typeof cell>;

const between = {
  initiator: required(attr('initiator', cellId), 'initiator'),
  target: required(attr('target', cellId), 'target'),
  cache: attr('cache', uint32),
  type: required(attr('type', oneOf('access', 'read', 'write')), 'type'),
  value: required(attr('value', uint32), 'value'),
};

export const guestNuma = child(
  'numa',
  object({
    cells: children('cell', cell, MAX_CELLS),
    interconnects: child(
      'interconnects',
      object({
        latencies: children('latency', object(between)),
        bandwidths: children('bandwidth', object({ ...between, unit: required(unitAttr, 'unit') })),
      }),
    ),
  }),
);
