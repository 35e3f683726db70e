/** Notes for the flight recorder which calls changed a domain: who, what, how long, how it ended. */
import type { DomainRef } from '../../../api/domain-objects.ts';
import { methods } from '../../../api/index.ts';
import { isVirtError, reasonOf } from '../../../base/errors.ts';
import type { CallContext, Handlers } from './handlers.ts';

/** Where notes go, and which domain a reference means. */
export interface CallRecord {
  note(uuid: string, kind: 'call', text: string, facts: Readonly<Record<string, unknown>>): void;
  /** The uuid; undefined where there is no such domain. */
  find(ref: DomainRef): string | undefined;
}

/** Texts of these params name things; all others may hold what is secret and are left out. */
const namingParams: ReadonlySet<string> = new Set([
  'name',
  'snapshot',
  'disk',
  'target',
  'alias',
  'interface',
  'mode',
  'action',
  'event',
  'command',
  'nvram',
  'managedSave',
  'file',
  'format',
]);

type AnyHandler = (params: Readonly<Record<string, unknown>>, context: CallContext) => Promise<unknown>;

/** The handlers; those of methods that change domains are noted. */
export function recordCalls(handlers: Handlers, record: CallRecord | undefined): Handlers {
  if (record === undefined) return handlers;
  const all: Record<string, AnyHandler> = { ...(handlers as unknown as Record<string, AnyHandler>) };
  for (const { name, access } of Object.values(methods)) {
    const handler = all[name];
    if (access === 'query' || handler === undefined || !/^(domain|snapshot)\./.test(name)) continue;
    all[name] = (params, context) => recorded(record, name, { handler, params, context });
  }
  return all as unknown as Handlers;
}

async function recorded(
  record: CallRecord,
  name: string,
  call: {
    readonly handler: AnyHandler;
    readonly params: Readonly<Record<string, unknown>>;
    readonly context: CallContext;
  },
): Promise<unknown> {
  const { handler, params, context } = call;
  const uuid = params['domain'] === undefined ? undefined : record.find(params['domain'] as DomainRef);
  const startedAt = performance.now();
  const tell = (found: string | undefined, outcome: Readonly<Record<string, unknown>>): void => {
    if (found === undefined) return;
    const { uid, pid } = context.peer;
    const ms = Math.round(performance.now() - startedAt);
    record.note(found, 'call', name, { uid, pid, ...plainParams(params), ms, ...outcome });
  };
  try {
    const result = await handler(params, context);
    tell(uuid ?? domainOf(result), {});
    return result;
  } catch (error) {
    const code = isVirtError(error) ? error.code : 'internal.error';
    tell(uuid, { code, error: reasonOf(error).slice(0, 500) });
    throw error;
  }
}

/** The domain that a define or create has made. */
function domainOf(result: unknown): string | undefined {
  const { domain } = (result ?? {}) as { readonly domain?: { readonly uuid?: unknown } };
  return typeof domain?.uuid === 'string' ? domain.uuid : undefined;
}

function plainParams(params: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(params))
    if (typeof value === 'boolean' ? value : typeof value === 'number') plain[key] = value;
    else if (typeof value === 'string' && namingParams.has(key)) plain[key] = value.slice(0, 200);
  return plain;
}
