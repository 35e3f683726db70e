/** How many virtual CPUs and IO threads a domain has. */
import {
  attr,
  child,
  children,
  childText,
  custom,
  type Field,
  type Infer,
  object,
  type Reader,
  required,
  wrapped,
} from '../../base/xml/codec.ts';
import { oneOf, uint, yesNo } from '../../base/xml/scalars.ts';
import { cpuset } from './cpuset.ts';

/** More than any machine type takes; libvirt's schema says unsignedShort. */
const countRule = uint({ min: 1, max: 65_535 });

/** Ids of IO threads; the count is capped, since each is a thread of the host. */
const iothreadId = uint({ min: 1, max: 65_535 });

const count: Field<number> = custom(
  (reader) => readCount(reader),
  (element, value) => {
    element.children.push(String(value));
  },
);

/** An empty `<vcpu/>` means one, as in libvirt. */
function readCount(reader: Reader): number {
  const found = reader.text().trim();
  if (found === '') return 1;
  try {
    return countRule.parse(found);
  } catch {
    // Whatever the scalar says in detail, this is what is wrong with it.
    reader.problem(reader.path, `'${found.slice(0, 40)}' is not a number of CPUs (1 to 65535)`);
    return 1;
  }
}

const vcpuCodec = object({
  placement: attr('placement', oneOf('static', 'auto')),
  cpuset: attr('cpuset', cpuset),
  /** CPUs plugged in at boot; the rest of `count` can be added while running. */
  current: attr('current', countRule),
  count,
});

export type Vcpu = Infer<typeof vcpuCodec>;

/** `<vcpu>`: one CPU when absent. */
export const vcpu: Field<Vcpu> = {
  read: (reader) => child('vcpu', vcpuCodec).read(reader) ?? { count: 1 },
  write: child('vcpu', vcpuCodec).write,
};

export const vcpus = wrapped(
  'vcpus',
  children(
    'vcpu',
    object({
      id: required(attr('id', uint({ max: 65_534 })), 'id'),
      enabled: required(attr('enabled', yesNo), 'enabled'),
      hotpluggable: attr('hotpluggable', yesNo),
      order: attr('order', uint({ min: 1, max: 65_535 })),
    }),
  ),
);

/** `<iothreads>`: how many. */
export const iothreads = childText('iothreads', uint({ max: 1024 }));

const poolSize = uint({ max: 2 ** 31 - 1 });

export const iothreadids = wrapped(
  'iothreadids',
  children(
    'iothread',
    object({
      id: required(attr('id', iothreadId), 'id'),
      threadPoolMin: attr('thread_pool_min', poolSize),
      threadPoolMax: attr('thread_pool_max', poolSize),
    }),
  ),
);

export const defaultiothread = child(
  'defaultiothread',
  object({
    threadPoolMin: attr('thread_pool_min', poolSize),
    threadPoolMax: attr('thread_pool_max', poolSize),
  }),
);
