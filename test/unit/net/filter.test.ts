import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { builtInFilter, builtInFilterNames } from '../../../src/model/nwfilter/built-in.ts';
import type { FilterRule, NwFilter } from '../../../src/model/nwfilter/filter.ts';
import { type CompiledChain, compileFilter } from '../../../src/net/filter/compile.ts';
import {
  applyText,
  dropText,
  type FilterTableState,
  isInPlace,
  tapOfChain,
} from '../../../src/net/filter/transaction.ts';
import { LEARNED } from '../../../src/net/filter/variables.ts';

const MAC = ['52:54:00:00:00:01'];
const IP = ['10.0.0.5'];

/** `root: ether saddr … -> drop`, one line a rule. */
const lines = (chains: readonly CompiledChain[]) =>
  chains.flatMap(({ name, rules }) =>
    rules.map(
      ({ words, verdict }) =>
        `${name}: ${[...words, typeof verdict === 'string' ? verdict : `jump ${verdict.jump}`].join(' ')}`,
    ),
  );

const compile = (name: string, variables: Record<string, readonly string[]> = { MAC, IP }) => {
  const { sides } = compileFilter(name, variables, builtInFilter);
  return { out: lines(sides.out), in: lines(sides.in) };
};

/** A filter of somebody's own, compiled. */
const compileOwn = (
  filter: Partial<NwFilter>,
  variables: Record<string, readonly string[]> = {},
  others: readonly NwFilter[] = [],
) => {
  const own: NwFilter = { name: 'own', chain: 'root', entries: [], ...filter };
  const { sides } = compileFilter('own', variables, (name) =>
    [own, ...others].find((one) => one.name === name),
  );
  return { out: lines(sides.out), in: lines(sides.in) };
};

const rule = (part: Partial<FilterRule>): FilterRule => ({
  kind: 'rule',
  action: 'drop',
  direction: 'out',
  ...part,
});
const ip = (values: Record<string, string>) => ({ match: { protocol: 'ip', values } }) as const;

describe('built-in filters', () => {
  it('are all in the guide', () => {
    const guide = readFileSync(new URL('../../../docs/guide/network-filters.md', import.meta.url), 'utf8');
    expect(builtInFilterNames.filter((name) => !guide.includes(`\`${name}\``))).toEqual([]);
  });

  it('clean-traffic lets pass IPv4 and ARP with the own addresses, and nothing else', () => {
    expect(compile('clean-traffic')).toEqual({
      out: [
        'root: jump mac',
        'root: ether type 0x0800 jump ipv4-ip',
        'root: ether type 0x0800 accept',
        'root: ether type 0x0806 jump arp-mac',
        'root: ether type 0x0806 jump arp-ip',
        'root: ether type 0x0806 accept',
        'root: ether type 0x8035 jump rarp',
        'root: ether type 0x0835 accept',
        'root: drop',
        'mac: ether saddr 52:54:00:00:00:01 return',
        'mac: drop',
        'ipv4-ip: ether type 0x0800 ip saddr 0.0.0.0 ip protocol 17 return',
        'ipv4-ip: ether type 0x0800 ip saddr 10.0.0.5 return',
        'ipv4-ip: drop',
        'arp-mac: ether type 0x0806 arp saddr ether 52:54:00:00:00:01 return',
        'arp-mac: drop',
        'arp-ip: ether type 0x0806 arp saddr ip 10.0.0.5 return',
        'arp-ip: drop',
        'rarp: ether type 0x8035 @nh,48,16 3 ether saddr 52:54:00:00:00:01 ether daddr ff:ff:ff:ff:ff:ff @nh,64,48 0x525400000001 @nh,144,48 0x525400000001 @nh,112,32 0x00000000 @nh,192,32 0x00000000 accept',
        'rarp: drop',
      ],
      in: [
        'root: ether type 0x0800 jump ipv4',
        'root: ether type 0x0806 accept',
        'root: ether type 0x8035 jump rarp',
        'root: drop',
        'ipv4: accept',
        'rarp: ether type 0x8035 @nh,48,16 3 ether daddr ff:ff:ff:ff:ff:ff @nh,64,48 0x525400000001 @nh,144,48 0x525400000001 @nh,112,32 0x00000000 @nh,192,32 0x00000000 accept',
        'rarp: drop',
      ],
    });
  });

  it.each(builtInFilterNames)('%s compiles with its parameters', (name) => {
    const server = name.includes('v6') ? 'fe80::1' : '10.0.0.1';
    const all = { MAC, IP, IPV6: ['fd00::5'], DHCPSERVER: [server], GATEWAY_MAC: ['52:54:00:00:00:02'] };
    const { out, in: inside } = compile(name, all);
    expect(out.length + inside.length).toBeGreaterThan(0);
    expect(out.join()).not.toContain('$');
  });

  it('takes several addresses, none, and the first that is used', () => {
    const ownIp = (values: readonly string[]) =>
      compile('no-ip-spoofing', { MAC, IP: values }).out.filter((line) => line.startsWith('ipv4-ip'));
    expect(ownIp(['10.0.0.5', '10.0.0.6'])).toHaveLength(4);
    expect(ownIp([])).toEqual([
      'ipv4-ip: ether type 0x0800 ip saddr 0.0.0.0 ip protocol 17 return',
      'ipv4-ip: drop',
    ]);
    expect(ownIp([LEARNED]).slice(1)).toEqual([
      'ipv4-ip: ether type 0x0800 ip saddr @learned return',
      'ipv4-ip: ether type 0x0800 ip saddr != 0.0.0.0 add @learned { ip saddr } return',
      'ipv4-ip: drop',
    ]);
  });

  it.each([
    ['clean-traffic', { MAC }, /the parameter IP is missing/],
    ['allow-dhcp-server', { MAC }, /the parameter DHCPSERVER is missing/],
    ['no-ip-spoofing', { MAC, IP: ['fd00::1'] }, /'fd00::1' is no IPv4 address/],
    ['no-ip-spoofing', { MAC, IP: ['10.0.0.5; flush ruleset'] }, /is no IPv4 address/],
    ['no-mac-spoofing', { MAC: ['52:54:00:00:00:01 accept'] }, /is no MAC address/],
    ['mine', {}, /there is no filter 'mine'/],
  ])('%s is refused with a reason where a value is wrong', (name, variables, reason) => {
    expect(() => compile(name, variables as Record<string, readonly string[]>)).toThrow(reason);
  });
});

describe("somebody's own filters", () => {
  it('describe what comes in by inout, and mirror it for what goes out', () => {
    const entries = [rule({ direction: 'inout', ...ip({ srcipaddr: '10.0.0.1', dstportstart: '22' }) })];
    expect(compileOwn({ entries })).toEqual({
      out: ['root: ether type 0x0800 ip daddr 10.0.0.1 th sport 22 drop'],
      in: ['root: ether type 0x0800 ip saddr 10.0.0.1 th dport 22 drop'],
    });
  });

  it('have masks, ranges, negations and lists that move together or multiply', () => {
    const entries = [
      rule({
        match: {
          protocol: 'mac',
          isNegated: true,
          values: { srcmacaddr: '2:0:0:0:0:1', srcmacmask: 'ff:ff:ff:0:0:0' },
        },
      }),
      rule(
        ip({ dstipaddr: '10.1.0.0', dstipmask: '16', protocol: 'tcp', dstportstart: '20', dstportend: '25' }),
      ),
      rule(ip({ srcipaddr: '$A', dstipaddr: '$B' })),
      rule(ip({ srcipaddr: '$A', dstipaddr: '$B[@1]' })),
      rule(ip({ srcipaddr: '$A[1]' })),
    ];
    const lists = { A: ['10.0.0.1', '10.0.0.2'], B: ['10.0.0.3', '10.0.0.4'] };
    const pair = (source: number, destination: number) =>
      `root: ether type 0x0800 ip saddr 10.0.0.${source} ip daddr 10.0.0.${destination} drop`;
    expect(compileOwn({ entries }, lists).out).toEqual([
      'root: ether saddr & ff:ff:ff:00:00:00 != 02:00:00:00:00:01 drop',
      'root: ether type 0x0800 ip daddr & 255.255.0.0 == 10.1.0.0 ip protocol 6 th dport 20-25 drop',
      ...[pair(1, 3), pair(2, 4)],
      ...[pair(1, 3), pair(1, 4), pair(2, 3), pair(2, 4)],
      'root: ether type 0x0800 ip saddr 10.0.0.2 drop',
    ]);
  });

  it('are refused when they go in circles, or name what means nothing', () => {
    const loop = { entries: [{ kind: 'include', filter: 'own', parameters: [] }] } as const;
    expect(() => compileOwn(loop)).toThrow(/refers to itself/);
    expect(() => compileOwn({ chain: 'tcp' })).toThrow(/begins with no protocol/);
    expect(() => compileOwn({ entries: [rule(ip({ arpsrcipaddr: '10.0.0.1' }))] })).toThrow(/not supported/);
    expect(() => compileOwn({ entries: [rule(ip({ dstportstart: '70000' }))] })).toThrow(
      /no number from 0 to 65535/,
    );
    const uneven = [rule(ip({ srcipaddr: '$A', dstipaddr: '$B' }))];
    expect(() => compileOwn({ entries: uneven }, { A: ['10.0.0.1'], B: [] })).toThrow(/differ in length/);
  });

  it('give parameters to those they refer to, which the user of the filter overrules', () => {
    const inner: NwFilter = { name: 'inner', chain: 'ipv4', entries: [rule(ip({ srcipaddr: '$A' }))] };
    const entries = [
      { kind: 'include', filter: 'inner', parameters: [{ name: 'A', value: '10.0.0.1' }] },
    ] as const;
    expect(compileOwn({ entries }, {}, [inner]).out[1]).toContain('10.0.0.1');
    expect(compileOwn({ entries }, { A: ['10.0.0.9'] }, [inner]).out[1]).toContain('10.0.0.9');
  });
});

describe('the transaction', () => {
  const filter = compileFilter('no-mac-spoofing', { MAC }, builtInFilter);
  /** The state of the kernel after that text, as far as these tests need it. */
  function stateAfter(text: string): FilterTableState {
    const find = (pattern: RegExp) => [...text.matchAll(pattern)].map((match) => match.slice(1));
    return {
      chains: [...new Set(find(/add chain bridge vireo_filter (\S+)/g).flat())] as string[],
      comments: new Map(
        [
          ...Map.groupBy(
            find(/add rule bridge vireo_filter (\S+) .* comment "(.*)"/g),
            ([chain = '']) => chain,
          ),
        ].map(([chain, rules]) => [chain, rules.map(([, comment]) => comment)]),
      ),
      elements: find(/add element bridge vireo_filter (\S+) \{ "([^"]+)"/g).map(([map = '', tap = '']) => ({
        map,
        tap,
      })),
      sets: find(/add set bridge vireo_filter (\S+)/g).flat(),
    };
  }

  it('puts everything in place once, and finds it there', () => {
    const text = applyText('vnet0', filter, undefined);
    const state = stateAfter(text);
    expect(isInPlace('vnet0', filter, undefined)).toBe(false);
    // The base chain of the other side has its rule too.
    expect(isInPlace('vnet0', filter, state)).toBe(true);
    expect(isInPlace('vnet0', filter, { ...state, elements: [] })).toBe(false);
    expect(isInPlace('vnet0', filter, { ...state, comments: new Map([...state.comments].slice(1)) })).toBe(
      false,
    );
    expect(isInPlace('vnet1', filter, state)).toBe(false);
  });

  it('takes away chains that the new filter has not', () => {
    const old = stateAfter(
      applyText('vnet0', compileFilter('clean-traffic', { MAC, IP: [LEARNED] }, builtInFilter), undefined),
    );
    const text = applyText('vnet0', filter, old);
    expect(text).toContain('delete chain bridge vireo_filter out.vnet0.ipv4-ip\n');
    expect(text).toContain('delete chain bridge vireo_filter in.vnet0.root\n');
    expect(text).toContain('delete element bridge vireo_filter in_to { "vnet0" }\n');
    expect(text).toContain('delete set bridge vireo_filter learned.vnet0\n');
  });

  it('takes the table away with the last tap, and only that', () => {
    const one = stateAfter(applyText('vnet0', filter, undefined));
    const both = stateAfter(applyText('vnet0', filter, undefined) + applyText('br-1.5:a', filter, one));
    expect(dropText(new Set(['vnet0']), undefined)).toBeUndefined();
    expect(dropText(new Set(['vnet0']), one)).toBe('delete table bridge vireo_filter\n');
    expect(dropText(new Set(['vnet0']), both)).toMatch(
      /^delete element .*vnet0[^]*delete chain .*out\.vnet0\.mac/,
    );
    expect(dropText(new Set(['vnet0']), both)).not.toContain('br-1');
  });

  it('finds the tap in the name of a chain, whatever signs it has', () => {
    const text = applyText('br-1.5:a', filter, undefined);
    expect(stateAfter(text).chains.map(tapOfChain)).toContain('br-1.5:a');
    expect(tapOfChain('from_guests')).toBeUndefined();
  });
});
