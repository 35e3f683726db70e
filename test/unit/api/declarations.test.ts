/** The declarations keep to the house's rules, and the pages made from them are up to date. */
import { describe, expect, it } from 'vitest';
import { staleDocs } from '../../../scripts/generate-docs.ts';
import { events, methods } from '../../../src/api/index.ts';
import type { EventDeclaration, MethodDeclaration } from '../../../src/api/method.ts';
import { buildOpenRpc } from '../../../src/api/openrpc.ts';
import { errorTable } from '../../../src/base/errors.ts';

const declarations = Object.values<MethodDeclaration>(methods);

describe('the API', () => {
  it.each(declarations.map((declaration) => [declaration.name, declaration] as const))(
    'declares %s well',
    (name, declaration) => {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*(\.[a-z]+(-[a-z]+)*)+$/);
      expect(declaration.summary).toMatch(/^[A-Z].*\.$/);
      expect(declaration.since).toMatch(/^\d+\.\d+\.\d+$/);
      for (const code of declaration.errors) expect(errorTable).toHaveProperty([code]);
      expect(new Set(declaration.errors).size).toBe(declaration.errors.length);
      for (const param of Object.keys(declaration.raises ?? {}))
        expect(declaration.params).toHaveProperty(['def', 'shape', param]);
      // Params and results are objects, so that both can grow.
      expect(declaration.params.def.type).toBe('object');
      expect(['object', 'record']).toContain(declaration.result.def.type);
      // A member that nobody knows is refused, not passed over.
      expect(declaration.params.safeParse({ bogus: 1 }).success).toBe(false);
    },
  );

  it('declares every event with a payload and a sentence', () => {
    for (const declaration of Object.values<EventDeclaration>(events)) {
      expect(declaration.name).toMatch(
        /^(domain|job|network|pool|volume|secret|nwfilter|node-device)\.[a-z]+(-[a-z]+)*$/,
      );
      expect(declaration.summary).toMatch(/^[A-Z].*\.$/);
      expect(declaration.payload.def.type).toBe('object');
    }
  });

  it('finds nothing under inherited names', () => {
    expect('constructor' in methods).toBe(false);
    expect('toString' in methods).toBe(false);
  });

  it('gives no JSON-RPC number twice, and none of the reserved range', () => {
    const numbers = Object.values(errorTable).map((row) => row.jsonrpc);
    expect(new Set(numbers).size).toBe(numbers.length);
    for (const number of numbers) expect(number < -32_768 || number > -32_000).toBe(true);
  });

  it.each([
    ['a slash', 'a/b'],
    ['a newline', 'a\nb'],
    ['a leading dot', '.a'],
    ['nothing', ''],
    ['a comma', 'a,b'],
    ['65 characters', 'a'.repeat(65)],
    ['an ANSI escape', '\u001b[31m'],
  ])('takes no new name with %s', (_, name) => {
    expect(methods['domain.rename'].params.safeParse({ domain: 'a', name }).success).toBe(false);
  });
});

describe('the documents', () => {
  it('are what the declarations say (npm run docs)', async () => {
    expect(await staleDocs()).toEqual([]);
  });

  it('form an OpenRPC document in which every reference leads somewhere', async () => {
    const document = await buildOpenRpc('1.2.3');
    expect(document['openrpc']).toBe('1.3.2');
    const references = JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g);
    for (const [, path] of references)
      expect(document).toHaveProperty((path ?? '').split('/').map(unescapePart));
    const described = (document['methods'] as { name: string }[]).map(({ name }) => name);
    expect(described).toEqual(Object.keys(methods));
  });

  it('take every UUID that a document may have, of no version of RFC 9562 too', async () => {
    const patterns = [
      ...JSON.stringify(await buildOpenRpc('1')).matchAll(/"format":"uuid","pattern":("[^"]+")/g),
    ].map(([, pattern]) => new RegExp(JSON.parse(pattern ?? '') as string));
    expect(patterns.length).toBeGreaterThan(10);
    for (const pattern of patterns) expect('81ff0d90-c91e-6742-64da-4a736edb9a9b').toMatch(pattern);
  });

  it('name required params before optional ones, as OpenRPC wants', async () => {
    for (const { params } of (await buildOpenRpc('1'))['methods'] as { params: { required: boolean }[] }[]) {
      const required = params.map((param) => Number(param.required));
      expect(required).toEqual([...required].sort((a, b) => b - a));
    }
  });
});

/** JSON Pointer (RFC 6901). */
function unescapePart(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~');
}
