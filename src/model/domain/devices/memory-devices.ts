/** `<memory>` (memory modules that can be plugged) and `<shmem>` (memory shared between guests). */
import {
  attr,
  child,
  childAttr,
  childText,
  flag,
  type Infer,
  object,
  required,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, onOff, path, uint, uuidText, yesNo } from '../../../base/xml/scalars.ts';
import { common, live } from './address.ts';
import { checked, kibRule, need, size } from './combinators.ts';

const cpuset = matching(/^(\d+(-\d+)?|\^\d+)(,(\d+(-\d+)?|\^\d+))*$/, 'a list of nodes like 0-3,^2');
const kib = size(kibRule);

const sourceShape = object({
  pageSizeKiB: child('pagesize', kib),
  /** Host NUMA nodes. */
  nodemask: childText('nodemask', cpuset),
  path: childText('path', path),
  alignSizeKiB: child('alignsize', kib),
  pmem: flag('pmem'),
});

/** Anonymous memory has pages and nodes; a file has a path. */
const sourceCodec = checked(sourceShape, (source, reader) => {
  const fromFile = source.path !== undefined;
  const wrong = fromFile ? (['pageSizeKiB', 'nodemask'] as const) : (['alignSizeKiB', 'pmem'] as const);
  for (const key of wrong)
    if (source[key] !== undefined)
      reader.problem(reader.at(key), fromFile ? 'does not go with a path' : 'needs a path');
});

const targetCodec = object({
  sizeKiB: required(child('size', kib), 'size'),
  /** Guest NUMA node. */
  node: childText('node', uint({ max: 65_535 })),
  label: child('label', object({ sizeKiB: required(child('size', kib), 'size') })),
  readonly: flag('readonly'),
  blockKiB: child('block', kib),
  requestedKiB: child('requested', kib),
  /** What the guest has plugged at present; told by QEMU. */
  currentKiB: live(child('current', kib)),
});

export const memoryCodec = object({
  model: need('model', oneOf('dimm', 'nvdimm', 'virtio-pmem', 'virtio-mem', 'sgx-epc')),
  access: attr('access', oneOf('shared', 'private')),
  discard: attr('discard', yesNo),
  uuid: childText('uuid', uuidText),
  source: child('source', sourceCodec),
  target: required(child('target', targetCodec), 'target'),
  ...common,
});
export type MemoryDevice = Infer<typeof memoryCodec>;

export const shmemCodec = object({
  name: need('name', matching(/^[^/\u0000-\u001f\u007f]{1,255}$/, 'the name of a shared memory')),
  role: attr('role', oneOf('master', 'peer')),
  model: childAttr('model', 'type', oneOf('ivshmem', 'ivshmem-plain', 'ivshmem-doorbell')),
  sizeBytes: child('size', size({ unitBytes: 1, fallback: 'bytes', print: 'M' })),
  server: child('server', object({ path: attr('path', path) })),
  msi: child(
    'msi',
    object({ vectors: attr('vectors', uint({ max: 65_535 })), ioeventfd: attr('ioeventfd', onOff) }),
  ),
  ...common,
});
export type Shmem = Infer<typeof shmemCodec>;
