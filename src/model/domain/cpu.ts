/** The guest's CPU: mode, model, features, topology, caches. */
import {
  attr,
  BadValue,
  child,
  children,
  childText,
  type Field,
  type Infer,
  object,
  required,
  type Scalar,
  text,
} from '../../base/xml/codec.ts';
import { matching, oneOf, onOff, str, uint } from '../../base/xml/scalars.ts';
import { guestNuma } from './numa.ts';

/** CPU models and features go into option strings: no comma, no equals sign. */
const word = matching(/^[A-Za-z0-9_.-]{1,64}$/, 'a CPU model or feature name');

const vendorId: Scalar<string> = {
  parse(value) {
    str({ max: 12, min: 12 }).parse(value);
    if (value.includes(',')) throw new BadValue('must not contain a comma');
    return value;
  },
  format: (value) => value,
};

const count = uint({ min: 1, max: 65_535 });

const topology = object({
  sockets: required(attr('sockets', count), 'sockets'),
  dies: attr('dies', count),
  clusters: attr('clusters', count),
  cores: required(attr('cores', count), 'cores'),
  threads: required(attr('threads', count), 'threads'),
});

export type CpuTopology = Infer<typeof topology>;

const feature = object({
  /** An absent policy means require. */
  policy: attr('policy', oneOf('force', 'require', 'optional', 'disable', 'forbid')),
  name: required(attr('name', word), 'name'),
});

const model = object({
  fallback: attr('fallback', oneOf('allow', 'forbid')),
  vendorId: attr('vendor_id', vendorId),
  name: text(word),
});

const cpuCodec = object({
  mode: attr('mode', oneOf('custom', 'host-model', 'host-passthrough', 'maximum')),
  match: attr('match', oneOf('minimum', 'exact', 'strict')),
  check: attr('check', oneOf('none', 'partial', 'full')),
  migratable: attr('migratable', onOff),
  model: child('model', model),
  vendor: childText('vendor', word),
  topology: child('topology', topology),
  cache: child(
    'cache',
    object({
      level: attr('level', uint({ min: 1, max: 3 })),
      mode: required(attr('mode', oneOf('emulate', 'passthrough', 'disable')), 'mode'),
    }),
  ),
  maxphysaddr: child(
    'maxphysaddr',
    object({
      mode: required(attr('mode', oneOf('emulate', 'passthrough')), 'mode'),
      bits: attr('bits', uint({ min: 1, max: 64 })),
      limit: attr('limit', uint({ min: 1, max: 64 })),
    }),
  ),
  features: children('feature', feature),
  numa: guestNuma,
});

export type Cpu = Infer<typeof cpuCodec>;

export const cpu: Field<Cpu | undefined> = child('cpu', cpuCodec);

/** Whether what a guest gets depends on the host: its own CPU, no less than a model, or features where they are there. */
export function leavesToHost({ mode, match, features }: Cpu): boolean {
  if (mode === 'host-model' || features.some(({ policy }) => policy === 'optional')) return true;
  return mode === 'custom' && match === 'minimum';
}
