/** Small damage to texts: what a tired administrator, a torn file and an attacker do to them. */
import { random } from '../../support/random.ts';

/** Texts that have broken programs before. */
export const dictionary = [
  '',
  '&#10;',
  '&#0;',
  '&#x110000;',
  '&lol;',
  '<!DOCTYPE a [<!ENTITY b "c">]>',
  '<![CDATA[',
  ']]>',
  '<!--',
  '-->',
  '<?x?>',
  '../',
  '/',
  ',',
  ',,',
  '"',
  "'",
  '<',
  '>',
  '&',
  '\0',
  '\n',
  '\u2028',
  '\u202e',
  '\ud800',
  '\u{1f600}',
  '%s%n',
  '$(id)',
  '__proto__',
  'constructor',
  'toString',
  '-1',
  '0',
  '1e999',
  'NaN',
  '0x10',
  '4294967296',
  '18446744073709551616',
  '9007199254740993',
  'yes',
  'none',
  'x'.repeat(300),
  '[[[[[[[[',
  '{"a":',
  '\\u0000',
  'null',
  'true',
] as const;

/** A source of damaged texts with a seed. */
export class Mutator {
  private readonly chance: () => number;

  constructor(seed: number) {
    this.chance = random(seed);
  }

  below(limit: number): number {
    return Math.floor(this.chance() * limit);
  }

  pick<T>(list: readonly T[]): T {
    const found = list[this.below(list.length)];
    if (found === undefined) throw new Error('nothing to pick from');
    return found;
  }

  /** One to four small changes. */
  mutate(text: string, changes: readonly ((text: string) => string)[] = this.anyText): string {
    let result = text;
    for (let left = 1 + this.below(4); left > 0; left--) result = this.pick(changes)(result);
    return result;
  }

  /** A place in a text, and how much of it is meant. */
  private span(text: string, most: number): [number, number] {
    const start = this.below(text.length + 1);
    return [start, start + this.below(most)];
  }

  readonly anyText: readonly ((text: string) => string)[] = [
    (text) => {
      const [start, end] = this.span(text, 40);
      return text.slice(0, start) + text.slice(end);
    },
    (text) => {
      const [start, end] = this.span(text, 60);
      return text.slice(0, end) + text.slice(start);
    },
    (text) => {
      const [start] = this.span(text, 1);
      return text.slice(0, start) + this.pick(dictionary) + text.slice(start);
    },
    (text) => {
      const [start] = this.span(text, 1);
      return text.slice(0, start) + String.fromCharCode(this.below(0x180)) + text.slice(start + 1);
    },
    (text) => text.slice(0, this.below(text.length + 1)),
  ];

  /** Changes that leave most documents well-formed, so that they get past the grammar. */
  readonly xml: readonly ((text: string) => string)[] = [
    (text) => this.replaceOne(text, /='[^']*'/g, () => `='${this.escaped()}'`),
    (text) => this.replaceOne(text, /='[^']*'/g, () => `='${this.escaped()}'`),
    (text) => this.replaceOne(text, />[^<>]+</g, () => `>${this.escaped()}<`),
    (text) => this.replaceOne(text, / [a-zA-Z]+='[^']*'/g, () => ''),
    (text) => this.replaceOne(text, /<[a-z]+[^<>]*\/>/g, (element) => element + element),
    (text) => this.replaceOne(text, /<[a-z]+[^<>]*\/>/g, () => ''),
  ];

  /** Changes that leave JSON what it is: a value becomes another, a member another's. */
  readonly json: readonly ((text: string) => string)[] = [
    (text) => this.replaceOne(text, /"[^"\\]*"/g, () => JSON.stringify(this.pick(dictionary))),
    (text) =>
      this.replaceOne(text, /\b\d+\b/g, () =>
        this.pick(['-1', '1e999', '0', 'null', '1.5', '9007199254740993']),
      ),
    (text) =>
      this.replaceOne(text, /:("[^"\\]*"|\d+|true|false)/g, () =>
        this.pick([':{}', ':[]', ':null', ':true', ':[[{}]]', ':""']),
      ),
    (text) => this.replaceOne(text, /"[^"\\]*":/g, () => '"__proto__":'),
  ];

  private escaped(): string {
    return this.pick(dictionary).replace(/[<>'&]/g, (character) => `&#${character.charCodeAt(0)};`);
  }

  /** Replaces one of the places that fit, chosen by chance; looks at a window of the text only. */
  private replaceOne(text: string, pattern: RegExp, change: (found: string) => string): string {
    const from = this.below(text.length);
    pattern.lastIndex = from;
    const match = pattern.exec(text);
    if (match === null) return text;
    return text.slice(0, match.index) + change(match[0]) + text.slice(match.index + match[0].length);
  }
}
