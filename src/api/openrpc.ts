/** The OpenRPC document (https://spec.open-rpc.org, 1.3) of all methods, made from their declarations. */
import * as z from 'zod';
import { errorTable } from '../base/errors.ts';
import { Turns } from '../base/turns.ts';
import { eventEnvelope } from './events.ts';
import { events, methods } from './index.ts';
import type { EventDeclaration, MethodDeclaration } from './method.ts';

type Json = Record<string, unknown>;

const OPENRPC_VERSION = '1.3.2';

/** Builds the document, in pieces, for it takes tens of milliseconds. `version` is the daemon's. */
export async function buildOpenRpc(version: string): Promise<Json> {
  const schemas = new SchemaCollector();
  const turns = new Turns();
  const documented: Json[] = [];
  for (const declaration of Object.values<MethodDeclaration>(methods)) {
    documented.push(methodObject(declaration, schemas));
    await turns.share();
  }
  const notifications = Object.values<EventDeclaration>(events).map((declaration) =>
    eventObject(declaration, schemas),
  );
  return {
    openrpc: OPENRPC_VERSION,
    info: {
      title: 'Vireo',
      version,
      description:
        'JSON-RPC 2.0 over a unix socket: one message per line, UTF-8, params by name, at most 100 requests in a batch.',
      license: { name: 'Apache-2.0' },
    },
    methods: documented,
    'x-events': { notification: 'event', envelope: schemas.convert(eventEnvelope), events: notifications },
    components: { schemas: schemas.all(), errors: errorObjects() },
  };
}

function methodObject(declaration: MethodDeclaration, schemas: SchemaCollector): Json {
  return {
    name: declaration.name,
    summary: declaration.summary,
    ...(declaration.description !== undefined && { description: declaration.description }),
    tags: [{ name: declaration.name.split('.')[0] }],
    paramStructure: 'by-name',
    params: paramsOf(declaration.params, schemas),
    result: { name: 'result', schema: schemas.convert(declaration.result) },
    errors: declaration.errors.map((code) => ({ $ref: `#/components/errors/${code}` })),
    'x-since': declaration.since,
    'x-access': declaration.access,
    ...(declaration.raises && { 'x-access-raised-by': declaration.raises }),
    ...(declaration.upgrade && { 'x-upgrade': true }),
  };
}

function paramsOf(params: z.ZodType, schemas: SchemaCollector): Json[] {
  const schema = schemas.convert(params);
  const required = new Set((schema['required'] as string[] | undefined) ?? []);
  const properties = Object.entries((schema['properties'] ?? {}) as Record<string, Json>);
  // OpenRPC: required params stand before optional ones.
  return properties
    .map(([name, property]) => paramObject(name, property, required.has(name)))
    .sort((a, b) => Number(b['required']) - Number(a['required']));
}

function paramObject(name: string, { description, ...schema }: Json, required: boolean): Json {
  return { name, ...(description !== undefined && { description }), required, schema };
}

function eventObject(declaration: EventDeclaration, schemas: SchemaCollector): Json {
  return {
    name: declaration.name,
    summary: declaration.summary,
    payload: schemas.convert(declaration.payload),
    'x-since': declaration.since,
  };
}

/** OpenRPC gives an error object by code and message; ours carry their name in `data.code`. */
function errorObjects(): Json {
  return Object.fromEntries(
    Object.entries(errorTable).map(([code, row]) => [
      code,
      { code: row.jsonrpc, message: row.meaning, data: { code } },
    ]),
  );
}

/** Turns zod schemas into JSON Schema and gathers those that have a name (`.meta({ id })`). */
class SchemaCollector {
  private readonly named = new Map<string, string>();

  convert(schema: z.ZodType): Json {
    // What a client may send, and what it may rely on: members that a later version adds are allowed for.
    const raw: unknown = z.toJSONSchema(schema, { io: 'input', target: 'draft-7', override: dropInternals });
    const text = JSON.stringify(raw).replaceAll('"#/definitions/', '"#/components/schemas/');
    const { $schema: _, definitions, ...converted } = JSON.parse(text) as Json & { definitions?: Json };
    for (const [name, definition] of Object.entries(definitions ?? {})) this.add(name, definition);
    return converted;
  }

  /** By name. */
  all(): Json {
    const sorted = [...this.named].sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(sorted.map(([name, text]) => [name, JSON.parse(text) as unknown]));
  }

  private add(name: string, definition: unknown): void {
    const text = JSON.stringify(definition);
    const known = this.named.get(name);
    if (known !== undefined && known !== text) throw new Error(`two schemas are named ${name}`);
    this.named.set(name, text);
  }
}

/** The bounds that zod gives every integer say nothing. */
function dropInternals({ jsonSchema }: { jsonSchema: Json }): void {
  if (jsonSchema['minimum'] === Number.MIN_SAFE_INTEGER) delete jsonSchema['minimum'];
  if (jsonSchema['maximum'] === Number.MAX_SAFE_INTEGER) delete jsonSchema['maximum'];
  delete jsonSchema['id'];
}
