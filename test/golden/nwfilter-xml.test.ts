/** Round trips of filter documents, and the built-in filters against the documents that libvirt brings. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { builtInFilter, builtInFilterNames } from '../../src/model/nwfilter/built-in.ts';
import { formatFilter, parseFilter } from '../../src/model/nwfilter/document.ts';
import type { NwFilter } from '../../src/model/nwfilter/filter.ts';
import { compileFilter } from '../../src/net/filter/compile.ts';
import { expectSchemaValid } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';

const directory = new URL('./nwfilter-xml/', import.meta.url).pathname;
const schema = '/usr/share/libvirt/schemas/nwfilter.rng';
const theirs = '/usr/share/libvirt/nwfilter';
const cases = readdirSync(directory);
const read = (name: string) => readFileSync(`${directory}${name}`, 'utf8');
const parse = (text: string): NwFilter => parseFilter(text, { mode: 'strict' }).filter;
const builtIn = (name: string): NwFilter => {
  const filter = builtInFilter(name);
  if (filter === undefined) throw new Error(`no filter ${name}`);
  return filter;
};

describe('filter documents', () => {
  it.each(cases)('%s is printed as it was', (name) => {
    expect(formatFilter(parse(read(name)))).toBe(read(name));
  });

  it.each(builtInFilterNames)('the built-in %s survives a round trip', (name) => {
    const printed = formatFilter(builtIn(name));
    expect(formatFilter(parse(printed))).toBe(printed);
  });

  it('get chain, priorities and what is negated or stateless', () => {
    const filter = parse(
      "<filter name='a'><rule action='drop' direction='out' statematch='0'><mac match='no' srcmacaddr='$MAC'/></rule><rule action='accept' direction='in' statematch='true'/></filter>",
    );
    expect(filter).toEqual({
      name: 'a',
      chain: 'root',
      entries: [
        {
          kind: 'rule',
          action: 'drop',
          direction: 'out',
          isStateless: true,
          match: { protocol: 'mac', isNegated: true, values: { srcmacaddr: '$MAC' } },
        },
        { kind: 'rule', action: 'accept', direction: 'in' },
      ],
    });
    expect(formatFilter({ ...filter, chain: 'arp-own' })).toContain("chain='arp-own' priority='-500'");
  });

  it.each([
    ['<filter/>', 'name'],
    ["<filter name='a' chain='tcp'/>", 'chain'],
    ["<filter name='a' priority='2000'/>", 'priority'],
    ["<filter name='a'><rule direction='in'/></filter>", 'rule[0].action'],
    ["<filter name='a'><rule action='drop' direction='up'/></filter>", 'rule[0].direction'],
    ["<filter name='a'><rule action='drop' direction='in'><mac/><ip/></rule></filter>", 'rule[0]'],
    [
      "<filter name='a'><rule action='drop' direction='in'><ip srcipaddr='10.0.0.1;'/></rule></filter>",
      'rule[0].ip.srcipaddr',
    ],
    [
      "<filter name='a'><rule action='drop' direction='in'><ip srcipaddr='@learned'/></rule></filter>",
      'rule[0].ip.srcipaddr',
    ],
    [
      "<filter name='a'><rule action='drop' direction='in'><mac comment='&quot;; flush ruleset'/></rule></filter>",
      'rule[0].mac.comment',
    ],
    [
      "<filter name='a'><rule action='drop' direction='in'><ip colour='red'/></rule></filter>",
      'rule[0].ip.@colour',
    ],
    ["<filter name='a'><filterref/></filter>", 'filterref[0].filter'],
  ])('%s is refused, with the path', (text, path) => {
    expect(() => parse(text)).toThrow(
      expect.objectContaining({
        code: 'xml.invalid',
        details: expect.objectContaining({
          problems: expect.arrayContaining([expect.objectContaining({ path })]) as unknown,
        }) as unknown,
      }) as Error,
    );
  });

  it('about connections are read, and refused where they would be put in force', () => {
    const filter = parse(
      "<filter name='a'><rule action='accept' direction='in'><tcp dstportstart='22'/></rule></filter>",
    );
    expect(() => compileFilter('a', {}, () => filter)).toThrow(/rules about <tcp> are not supported yet/);
  });
});

describeWith(['xmllint', schema], "libvirt's schema of filters", () => {
  it('accepts everything that we print', () => {
    for (const name of builtInFilterNames) expectSchemaValid(formatFilter(builtIn(name)), schema);
    for (const name of cases) expectSchemaValid(formatFilter(parse(read(name))), schema);
  });
});

describeWith([`${theirs}/clean-traffic.xml`], "libvirt's own filters", () => {
  /** The order of attributes means nothing, nor does the case of addresses. */
  const plain = (filter: NwFilter) =>
    formatFilter(filter)
      .toLowerCase()
      .split('\n')
      .map((line) => line.replace(/\/?>$/, '').trim().split(' ').toSorted().join(' '));
  const files = (existsSync(theirs) ? readdirSync(theirs) : []).filter((name) => name.endsWith('.xml'));

  it.each(files)('%s is what is built in', (file) => {
    const { uuid: _, ...filter } = parse(readFileSync(`${theirs}/${file}`, 'utf8'));
    expect(plain(builtIn(filter.name))).toEqual(plain(filter));
  });

  it('are all there', () => {
    expect(files.map((file) => file.slice(0, -'.xml'.length)).toSorted()).toEqual(builtInFilterNames);
  });
});
