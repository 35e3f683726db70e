/** The quick look at a document: it never takes for well-formed what the parser's own validator refuses. */
import { XMLValidator } from 'fast-xml-parser';
import { describe, expect, it } from 'vitest';
import { twentyDeviceXml } from '../../../bench/definitions.ts';
import { parseXml, xmlLimits } from '../../../src/base/xml/parse.ts';
import { isPlainDocument } from '../../../src/base/xml/plain-document.ts';
import { Mutator } from '../fuzz/mutate.ts';

const isPlain = (text: string): boolean => isPlainDocument(text, xmlLimits);

describe('a plain document', () => {
  it.each([
    ["<a b='1' c:d=\"it's\"><e/>text > text<!-- < -- > --></a >"],
    ["<!-- a file of ours -->\n<domain type='kvm'\n  id=''>\n</domain>\n\n"],
    [twentyDeviceXml('a', '/images')],
  ])('is known without its validator: %s', (text) => {
    expect(isPlain(text)).toBe(true);
    expect(parseXml(text).children.length).toBeGreaterThan(0);
  });

  it.each([
    ['an end of another name', '<a></b>'],
    ['an end that is longer', '<a></ab>'],
    ['an end too much', '<a/></a>'],
    ['an end that is missing', '<a><b></a>'],
    ['two roots', '<a/><b/>'],
    ['text behind the root', '<a></a>text'],
    ['no root', '<!-- nothing -->'],
    ['attributes that touch', "<a b='1'c='2'/>"],
    ['an attribute twice', "<a b='1' b='1'/>"],
    ['no quotes', '<a b=1/>'],
    ['no value', '<a b/>'],
    ['a quote that stays open', "<a b='1/><c d=''/>"],
    ['a tag in a value', "<a b='<'/>"],
    ['a comment that stays open', '<a><!-- </a>'],
    ['a name that begins with a digit', '<1/>'],
    ['a slash that ends nothing', "<a / b=''></a>"],
  ])('has not %s', (_, text) => {
    expect(isPlain(text)).toBe(false);
    expect(() => parseXml(text)).toThrow(expect.objectContaining({ code: 'xml.malformed' }));
  });

  it.each([
    ['a declaration', "<?xml version='1.0'?><a/>"],
    ['CDATA', '<a><![CDATA[<]]></a>'],
    ['a reference', '<a>&amp;</a>'],
    ['a name beyond ASCII', '<\u00e4/>'],
    ['many attributes', `<a${Array.from({ length: 40 }, (_each, index) => ` b${index}=''`).join('')}/>`],
  ])('with %s is left to the validator, which takes it', (_, text) => {
    expect(isPlain(text)).toBe(false);
    expect(parseXml(text).name).toMatch(/^[a\u00e4]$/);
  });

  it('is within the limits', () => {
    const deep = (depth: number): string => '<a>'.repeat(depth) + '</a>'.repeat(depth);
    const limits = { depth: 3, nodes: 5 };
    expect([3, 4].map((depth) => isPlainDocument(deep(depth), limits))).toEqual([true, false]);
    expect(isPlainDocument(`<a>${'<b/>'.repeat(4)}</a>`, limits)).toBe(true);
    expect(isPlainDocument(`<a>${'<b/>'.repeat(5)}</a>`, limits)).toBe(false);
    expect(() => parseXml(deep(xmlLimits.depth + 1))).toThrow(/nested deeper/);
  });
});

const whole = [
  `<a><b x='1' y="2'"/><!-- c --><c>text</c></a>`,
  `<!-- h -->\n<domain type='kvm'><name>x</name><m:y xmlns:m="u"/></domain>\n`,
  "<a\n b='c' ></a >",
] as const;
const marks = [
  ...['<', '>', '/', "'", '"', '=', ' ', 'a', '\t', '\n', ':', '-', '.', '1', '!', '<!', '--', '-->', ']]>'],
  ...['<a>', '</a>', '<b/>', '<!-- x -->', '<!--->', '<?x?>', '?>', "x='1'", ' x="1"', '\u00e9'],
] as const;

/** A document that was damaged in some places, or one made of bits. */
function damaged(mutator: Mutator): string {
  if (mutator.below(3) === 0)
    return Array.from({ length: 1 + mutator.below(14) }, () => mutator.pick(marks)).join('');
  let text: string = mutator.pick(whole);
  for (let left = 1 + mutator.below(3); left > 0; left -= 1) {
    const at = mutator.below(text.length + 1);
    const added = mutator.below(2) === 0 ? '' : mutator.pick(marks);
    text = text.slice(0, at) + added + text.slice(at + mutator.below(6));
  }
  return text;
}

it.each(['<a/>text', '<a/> &amp;', '<a/>]]>', '<a/>b<!-- c -->', "<?xml version='1.0'?><a/> b"])(
  'text behind a root that closes itself is refused: %s',
  (source) => {
    expect(() => parseXml(source)).toThrow(/behind the root|Extra text/);
  },
);

it('agrees with the validator on what it takes, however documents are damaged', () => {
  const seed = Date.now() % 1_000_000;
  const mutator = new Mutator(seed);
  let taken = 0;
  for (let left = 20_000; left > 0; left -= 1) {
    const text = damaged(mutator);
    if (!isPlain(text)) continue;
    taken += 1;
    expect({ seed, text, valid: XMLValidator.validate(text) }).toEqual({ seed, text, valid: true });
  }
  expect(taken).toBeGreaterThan(100);
});
