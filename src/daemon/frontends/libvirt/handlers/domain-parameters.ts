/** Scheduler, memory, blkio and NUMA parameters of domains, as typed parameters. */
import { paramType, type TypedParam, type WireDomain } from '../../../../libvirt/protocol/objects.ts';
import { type ParameterKind, parametersOf } from '../../../services/domain-parameter-table.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { counted, type ParamTable, readParams } from './params.ts';
import { affect, checkFlags, domainOf, impactOn } from './support.ts';

const bothSides = affect.live | affect.config;
/** virTypedParameterFlags: the client takes texts. */
const STRING_OKAY = 4;

interface SetArgs {
  readonly dom: WireDomain;
  readonly params: readonly TypedParam[];
  readonly flags: number;
}
interface GetArgs {
  readonly dom: WireDomain;
  readonly nparams: number;
  readonly flags: number;
}

export function domainParameterHandlers(engine: Engine) {
  const set = async (kind: ParameterKind, { dom, params, flags }: SetArgs, call: Call) => {
    checkFlags(flags, bothSides, call);
    const domain = domainOf(engine, dom);
    const given = readParams(params, typesOf(kind));
    const changes = [...given].map(([name, value]) => ({ kind, name, value }));
    await engine.domains.parameters.set(domain, changes, impactOn(domain, flags));
  };
  const get = (kind: ParameterKind, { dom, nparams, flags }: GetArgs, call: Call) => {
    checkFlags(flags, bothSides | STRING_OKAY, call);
    const domain = domainOf(engine, dom);
    const { live } = impactOn(domain, flags & bothSides);
    const values = engine.domains.parameters.get(domain, kind, { inactive: !live });
    return counted(
      [...values].map(([field, value]) => paramOf(kind, field, value)),
      nparams,
    );
  };
  return {
    domainGetSchedulerType: ({ dom }) => {
      domainOf(engine, dom);
      return { type: 'posix', nparams: Object.keys(parametersOf('scheduler')).length };
    },
    domainGetSchedulerParameters: (args, call) => ({
      params: get('scheduler', { ...args, flags: 0 }, call).params,
    }),
    domainGetSchedulerParametersFlags: (args, call) => ({ params: get('scheduler', args, call).params }),
    domainSetSchedulerParameters: (args, call) => set('scheduler', { ...args, flags: 0 }, call),
    domainSetSchedulerParametersFlags: (args, call) => set('scheduler', args, call),
    domainGetMemoryParameters: (args, call) => get('memory', args, call),
    domainSetMemoryParameters: (args, call) => set('memory', args, call),
    domainGetBlkioParameters: (args, call) => get('blkio', args, call),
    domainSetBlkioParameters: (args, call) => set('blkio', args, call),
    domainGetNumaParameters: (args, call) => get('numa', args, call),
    domainSetNumaParameters: (args, call) => set('numa', args, call),
  } satisfies RemoteHandlers;
}

function typesOf(kind: ParameterKind): ParamTable {
  return Object.fromEntries(
    Object.entries(parametersOf(kind)).map(([name, { type }]) => [name, type] as const),
  );
}

function paramOf(kind: ParameterKind, field: string, value: number | string): TypedParam {
  const type = parametersOf(kind)[field]?.type ?? 'string';
  if (typeof value === 'string') return { field, value: { type: paramType.string, value } };
  if (type === 'string') return { field, value: { type: paramType.string, value: String(value) } };
  return { field, value: { type: paramType[type], value } };
}
