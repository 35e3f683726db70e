/** Documents that somebody broke: whatever comes, the answer is a definition whose plan can be made, or a typed error. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { applyNetworkDefaults } from '../../../src/model/network/defaults.ts';
import { formatNetwork, hasOwnBridge, parseNetwork } from '../../../src/model/network/network.ts';
import { validateNetwork } from '../../../src/model/network/validate/validate.ts';
import { planOf } from '../../../src/net/plan-from-definition.ts';
import { random } from '../../support/random.ts';

const directory = new URL('../../golden/network-xml/', import.meta.url);
const documents = readdirSync(directory).map((name) => readFileSync(new URL(name, directory), 'utf8'));

const facts = {
  newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8',
  newMac: () => '52:54:00:00:00:01',
  freeBridgeName: () => 'virbr9',
};

/** What injections are made of. */
const dictionary = [
  ...[
    "'",
    '"',
    ',',
    ';',
    '\n',
    '&#10;',
    '&#0;',
    '../',
    '%s',
    '\u202e',
    '\u0085',
    '-1',
    '0',
    '4294967296',
    '1e9',
  ],
  ...[
    '<ip/>',
    '<dhcp/>',
    "<host ip='::'/>",
    '</network>',
    '<!DOCTYPE a>',
    '0x7f',
    '::',
    '255.255.255.255',
    '',
  ],
];

/** Puts words of the dictionary in, takes pieces out, doubles pieces. */
function broken(text: string, next: () => number): string {
  let result = text;
  for (let count = 1 + Math.floor(next() * 4); count > 0; count--) {
    const at = Math.floor(next() * result.length);
    const length = Math.floor(next() * next() * 40);
    const piece = result.slice(at, at + length);
    const word = dictionary[Math.floor(next() * dictionary.length)] ?? '';
    const put = next() < 0.6 ? word : next() < 0.5 ? piece + piece : '';
    result = result.slice(0, at) + put + result.slice(at + length);
  }
  return result;
}

describe('a broken document', () => {
  it('gives a definition or a typed error, strictly and leniently read', () => {
    const next = random(20_261_121);
    let accepted = 0;
    for (let round = 0; round < 4000; round++) {
      const text = broken(documents[round % documents.length] ?? '', next);
      try {
        const { definition } = parseNetwork(text, { mode: round % 2 ? 'strict' : 'lenient' });
        const complete = applyNetworkDefaults(definition, facts);
        if (validateNetwork(complete).length > 0) continue;
        accepted++;
        const printed = formatNetwork(complete);
        expect(formatNetwork(parseNetwork(printed, { mode: 'strict' }).definition)).toBe(printed);
        if (hasOwnBridge(complete))
          expect(
            JSON.stringify(planOf(complete, { portForwards: [], guestNames: [], guests: [] })),
          ).not.toMatch(/\\n|\\r|\\u00/);
      } catch (error) {
        if (!isVirtError(error)) throw new Error(`round ${round}: ${text}`, { cause: error });
      }
    }
    expect(accepted).toBeGreaterThan(100);
  });
});
