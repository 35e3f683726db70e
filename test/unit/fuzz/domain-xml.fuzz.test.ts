/** Damaged domain definitions: each is refused with an error of ours or comes back as it was read, and soon. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { validateDomain } from '../../../src/model/domain/validate/validate.ts';
import { Mutator } from './mutate.ts';

const DOCUMENTS = Number(process.env['FUZZ_DOCUMENTS'] ?? 50_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);
/** Security plan R16: no document holds the main thread longer. */
const MAX_PARSE_MS = 250;

const golden = join(import.meta.dirname, '../../golden/domain-xml');
const seeds = readdirSync(golden)
  .filter((name) => name.endsWith('.xml') && !/\.(out|inactive)\./.test(name))
  .map((name) => readFileSync(join(golden, name), 'utf8'));

/** An element at the depth of a device, on one line or on several. */
const deviceRule = /^ {4}<(\w+)[^\n]*(?:\/>|<\/\1>)\n|^ {4}<(\w+)[^\n]*>\n[^]*?^ {4}<\/\2>\n/gm;

/** A definition without most of its devices: small documents let more damage through per second. */
function smaller(mutator: Mutator, text: string): string {
  return text.replace(deviceRule, (element) => (mutator.below(6) === 0 ? element : ''));
}

/** How one document ended; throws what must not happen. */
function tryOne(text: string, mode: 'strict' | 'lenient', isRoundTrip: boolean): string {
  let definition: ReturnType<typeof parseDomain>['definition'];
  try {
    ({ definition } = parseDomain(text, { mode }));
  } catch (error) {
    if (!isVirtError(error)) throw error;
    if (/[\n\u2028\u202e]/.test(error.message))
      throw new Error('the error has more than one line', { cause: error });
    return error.code;
  }
  const written = formatDomain(definition, { secure: true });
  if (!isRoundTrip) return validateDomain(definition).length === 0 ? 'accepted' : 'with problems';
  const again = parseDomain(written, { mode: 'strict' }).definition;
  if (formatDomain(again, { secure: true }) !== written)
    throw new Error('it does not come back as it was written');
  return 'came back';
}

/** The best of three: this machine may be busy with something else at one moment, not at three. */
function parseMs(text: string): number {
  const tries = [1, 2, 3].map(() => {
    const begun = performance.now();
    tryOne(text, 'lenient', false);
    return performance.now() - begun;
  });
  return Math.min(...tries);
}

it(`takes ${DOCUMENTS} damaged documents (FUZZ_SEED=${SEED})`, { timeout: 120_000 }, () => {
  const mutator = new Mutator(SEED);
  const outcomes: Record<string, number> = {};
  let slowest = { ms: 0, text: '' };
  const startedAt = performance.now();
  for (let index = 0; index < DOCUMENTS; index++) {
    const base = smaller(mutator, mutator.pick(seeds));
    const text = mutator.mutate(base, mutator.below(3) === 0 ? mutator.anyText : mutator.xml);
    const begun = performance.now();
    let outcome: string;
    try {
      outcome = tryOne(text, index % 2 === 0 ? 'strict' : 'lenient', index % 10 === 0);
    } catch (error) {
      throw new Error(`document ${index} of seed ${SEED}:\n${text}`, { cause: error });
    }
    const tookMs = performance.now() - begun;
    if (tookMs > slowest.ms) slowest = { ms: tookMs, text };
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  process.stderr.write(
    `XML fuzz: ${DOCUMENTS} documents in ${seconds} s, slowest ${slowest.ms.toFixed(0)} ms, seed ${SEED}: ${JSON.stringify(outcomes)}\n`,
  );
  expect(parseMs(slowest.text), slowest.text).toBeLessThan(MAX_PARSE_MS);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  expect(Object.keys(Object.prototype)).toEqual([]);
  for (const wanted of ['accepted', 'came back', 'xml.malformed', 'xml.invalid'])
    expect(outcomes[wanted], wanted).toBeGreaterThan(0);
});
