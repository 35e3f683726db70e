/** XDR both ways: RFC 4506's forms byte by byte, limits before allocation, and every damage a typed error. */
import { describe, expect, it } from 'vitest';
import { charBytes, charText, nonnullDomain, typedParam } from '../../../src/libvirt/protocol/objects.ts';
import {
  array,
  bool,
  decodeAll,
  double,
  encodeAll,
  enumOf,
  fixedArray,
  fixedOpaque,
  hyper,
  int,
  nothing,
  opaque,
  optional,
  remembered,
  safeHyper,
  safeUhyper,
  string,
  struct,
  uhyper,
  uint,
  union,
  uuid,
  type Xdr,
  XdrError,
  XdrReader,
  XdrWriter,
} from '../../../src/libvirt/xdr/xdr.ts';
import { random } from '../../support/random.ts';

const hexOf = <T>(codec: Xdr<T>, value: T) => encodeAll(codec, value).toString('hex');
const fromHex = <T>(codec: Xdr<T>, hex: string) => decodeAll(codec, Buffer.from(hex, 'hex'));

/** What an attempt ends with. */
function problemOf(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    if (error instanceof XdrError) return error.problem;
    throw error;
  }
  return 'none';
}

const color = enumOf({ red: 1, green: 2 });
const shape = union({ 1: int, 7: string(20) });
const all = struct({
  i: int,
  u: uint,
  h: hyper,
  uh: uhyper,
  sh: safeHyper,
  su: safeUhyper,
  d: double,
  b: bool,
  e: color,
  s: string(100),
  os: optional(string(100)),
  none: optional(string(100)),
  f: fixedOpaque(5),
  v: opaque(100),
  a: array(shape, 10),
  fa: fixedArray(int, 2),
  id: uuid,
  text: charText(4),
  chars: charBytes(8),
});
const value = {
  i: -2,
  u: 4_294_967_295,
  h: -(2n ** 63n),
  uh: 2n ** 64n - 1n,
  sh: -9_007_199_254_740_991,
  su: 2n ** 53n,
  d: -0.5,
  b: true,
  e: 'green' as const,
  s: 'grüße',
  os: '',
  none: null,
  f: Buffer.from([1, 2, 3, 4, 5]),
  v: Buffer.from([9]),
  a: [
    { type: 1 as const, value: 3 },
    { type: 7 as const, value: 'x' },
  ],
  fa: [1, -1],
  id: '00112233-4455-6677-8899-aabbccddeeff',
  text: 'abc',
  chars: Buffer.from([1, 255]),
};

describe('each type', () => {
  it.each([
    ['int', int, -1, 'ffffffff'],
    ['uint', uint, 0xfffffffe, 'fffffffe'],
    ['bool', bool, true, '00000001'],
    ['hyper', hyper, -2n, 'fffffffffffffffe'],
    ['uhyper', uhyper, 2n ** 63n, '8000000000000000'],
    ['safe hyper', safeHyper, -1, 'ffffffffffffffff'],
    ['safe hyper', safeHyper, -4_294_967_297, 'fffffffeffffffff'],
    ['safe uhyper', safeUhyper, 9_007_199_254_740_991, '001fffffffffffff'],
    ['double', double, 1.5, '3ff8000000000000'],
    ['enum', color, 'red', '00000001'],
    ['string', string(8), 'abcde', '000000056162636465000000'],
    ['fixed opaque', fixedOpaque(3), Buffer.from([1, 2, 3]), '01020300'],
    ['opaque', opaque(9), Buffer.from([255]), '00000001ff000000'],
    ['array', array(int, 3), [1, 2], '000000020000000100000002'],
    ['optional', optional(int), 7, '0000000100000007'],
    ['missing optional', optional(int), null, '00000000'],
    ['nothing', nothing, undefined, ''],
    ['uuid', uuid, '00112233-4455-6677-8899-aabbccddeeff', '00112233445566778899aabbccddeeff'],
    ['signed chars in words', charBytes(3), Buffer.from([255]), '00000001ffffffff'],
    ['chars in words', charText(3), 'ab', '000000610000006200000000'],
  ] as const)('%s has the bytes of the standard', (_, codec, one, hex) => {
    expect(hexOf(codec as Xdr<unknown>, one)).toBe(hex);
    expect(fromHex(codec as Xdr<unknown>, hex)).toEqual(one);
  });

  it('keeps the bytes of a frozen value, and of no other', () => {
    let encodings = 0;
    const codec = remembered(
      struct({
        n: {
          ...int,
          encode(writer, one: number) {
            encodings++;
            int.encode(writer, one);
          },
        },
      }),
    );
    const frozen = Object.freeze({ n: 5 });
    const loose = { n: 6 };
    expect([frozen, frozen, loose].map((one) => hexOf(codec, one))).toEqual([
      '00000005',
      '00000005',
      '00000006',
    ]);
    expect(encodings).toBe(2);
    loose.n = 7;
    expect(hexOf(codec, loose)).toBe('00000007');
    expect(fromHex(codec, '00000008')).toEqual({ n: 8 });
  });

  it('takes 64-bit numbers beyond 2^53 as bigints, and numbers up to it', () => {
    expect(fromHex(safeUhyper, '0020000000000000')).toBe(2n ** 53n);
    expect(fromHex(safeUhyper, '001fffffffffffff')).toBe(Number.MAX_SAFE_INTEGER);
    expect(fromHex(safeHyper, 'ffe0000000000000')).toBe(-(2n ** 53n));
    expect(fromHex(safeHyper, 'ffe0000000000001')).toBe(Number.MIN_SAFE_INTEGER);
    expect(fromHex(safeUhyper, 'ffffffffffffffff')).toBe(2n ** 64n - 1n);
  });

  it('comes back as it was, in a struct of all of them', () => {
    expect(decodeAll(all, encodeAll(all, value))).toEqual(value);
  });

  it('ignores what padding holds, as libvirt does, and writes zeros', () => {
    expect(fromHex(string(8), '0000000161ffffff')).toBe('a');
  });
});

describe('what a type cannot carry is refused when it is written', () => {
  it.each([
    ['a fraction', int, 1.5],
    ['too large an int', int, 2 ** 31],
    ['a negative uint', uint, -1],
    ['not a number', uint, Number.NaN],
    ['too large a hyper', hyper, 2n ** 63n],
    ['a negative uhyper', uhyper, -1n],
    ['a number that is not exact', safeUhyper, 2 ** 53],
    ['a negative safe uhyper', safeUhyper, -1],
    ['a short opaque', fixedOpaque(4), Buffer.alloc(3)],
    ['another number of items', fixedArray(int, 2), [1]],
    ['no uuid', uuid, '00112233-4455-6677-8899-aabbccddeef'],
  ] as const)('%s', (_, codec, wrong) => {
    expect(problemOf(() => encodeAll(codec as Xdr<unknown>, wrong))).toBe('value');
  });

  it.each([
    ['a text', string(3), 'grü'],
    ['bytes', opaque(3), Buffer.alloc(4)],
    ['a list', array(int, 1), [1, 2]],
  ] as const)('%s over its limit', (_, codec, wrong) => {
    expect(problemOf(() => encodeAll(codec as Xdr<unknown>, wrong))).toBe('too-long');
  });

  it('a message over the limit of the writer, which then can be used again', () => {
    const writer = new XdrWriter(5000);
    expect(problemOf(() => string(10_000).encode(writer, 'x'.repeat(6000)))).toBe('too-long');
    writer.reset();
    int.encode(writer, 1);
    expect(writer.take().toString('hex')).toBe('00000001');
  });
});

describe('texts', () => {
  it('are the same bytes whether short, long, at the end of the buffer, or not ASCII', () => {
    for (const length of [0, 1, 3, 4, 5, 63, 64, 65, 200])
      for (const text of ['a'.repeat(length), `${'a'.repeat(length)}é`, `é${'b'.repeat(length)}`]) {
        const writer = new XdrWriter(1 << 20);
        for (let filled = 0; filled < 4096 - length; filled += 4) writer.word(-1);
        const start = writer.length;
        writer.text(text, 1000);
        const bytes = Buffer.from(text);
        const head = Buffer.alloc(4);
        head.writeUInt32BE(bytes.length);
        const padding = Buffer.alloc((4 - (bytes.length % 4)) % 4);
        expect(writer.take().subarray(start)).toEqual(Buffer.concat([head, bytes, padding]));
      }
  });
});

describe('damaged bytes', () => {
  const bytes = encodeAll(all, value);

  it('are a typed error for every prefix', () => {
    for (let length = 0; length < bytes.length; length++)
      expect(problemOf(() => decodeAll(all, bytes.subarray(0, length)))).toBe('short');
  });

  it('are a typed error with anything behind them', () => {
    expect(problemOf(() => decodeAll(all, Buffer.concat([bytes, Buffer.alloc(4)])))).toBe('trailing');
  });

  it('name the field they are in', () => {
    const nested = struct({ params: array(struct({ name: string(3) }), 2) });
    expect(() => fromHex(nested, '0000000100000009616161616161616161')).toThrow(
      /^params\.name: 9 items, at most 3$/,
    );
  });

  it.each([
    ['a NUL inside a text', string(9), '0000000361006200'],
    ['a text that is no UTF-8', string(9), '00000002c3280000'],
    ['an unknown word of an enum', color, '00000003'],
    ['an unknown kind of a union', shape, '0000000200000000'],
  ] as const)('%s is a typed error', (_, codec, hex) => {
    expect(problemOf(() => fromHex(codec as Xdr<unknown>, hex))).toBe('value');
  });

  it('keep a real replacement character in a text', () => {
    expect(fromHex(string(9), '00000003efbfbd00')).toBe('\ufffd');
  });

  it('allocate nothing for lengths that are not there', () => {
    const before = process.memoryUsage().arrayBuffers;
    for (const hex of ['ffffffff', '7fffffff', '00ffffff']) {
      for (const codec of [
        opaque(2 ** 32),
        string(2 ** 32),
        array(nothing, 2 ** 32),
        array(nonnullDomain, 2 ** 32),
      ])
        expect(problemOf(() => fromHex(codec as Xdr<unknown>, hex))).toBe('short');
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
  });

  it('are a value or a typed error for every single flipped byte and for noise', () => {
    const chance = random(7);
    const outcomes = new Set<string>();
    for (let round = 0; round < 40; round++)
      for (let at = 0; at < bytes.length; at++) {
        const damaged = Buffer.from(bytes);
        damaged[at] = round === 0 ? 255 : Math.floor(chance() * 256);
        outcomes.add(problemOf(() => decodeAll(all, damaged)));
      }
    for (let round = 0; round < 5000; round++) {
      const noise = Buffer.from(
        Array.from({ length: Math.floor(chance() * 200) }, () => Math.floor(chance() * 256)),
      );
      outcomes.add(problemOf(() => decodeAll(all, noise)));
    }
    expect([...outcomes].sort()).toEqual(['none', 'short', 'too-long', 'value']);
  });
});

it('keeps nothing of the bytes it read', () => {
  const bytes = encodeAll(struct({ data: opaque(10), name: string(10) }), {
    data: Buffer.from('abc'),
    name: 'def',
  });
  const decoded = decodeAll(struct({ data: opaque(10), name: string(10) }), bytes);
  bytes.fill(0);
  expect(decoded).toEqual({ data: Buffer.from('abc'), name: 'def' });
});

it('reads from the middle of a larger buffer and not beyond its end', () => {
  const bytes = Buffer.from('0000000100000002', 'hex');
  const reader = new XdrReader(bytes, 0, 4);
  expect(int.decode(reader)).toBe(1);
  expect(problemOf(() => int.decode(reader))).toBe('short');
});

it('carries typed parameters of every kind', () => {
  const params = [
    { field: 'i', value: { type: 1 as const, value: -1 } },
    { field: 'u', value: { type: 2 as const, value: 1 } },
    { field: 'l', value: { type: 3 as const, value: -5_000_000_000 } },
    { field: 'ul', value: { type: 4 as const, value: 2n ** 64n - 1n } },
    { field: 'd', value: { type: 5 as const, value: 0.25 } },
    { field: 'b', value: { type: 6 as const, value: 1 } },
    { field: 's', value: { type: 7 as const, value: 'text' } },
  ];
  const list = array(typedParam, 16);
  expect(decodeAll(list, encodeAll(list, params))).toEqual(params);
  // A boolean takes four bytes, whatever C's char does.
  const flag = { field: 'b', value: { type: 6 as const, value: 1 } };
  expect(hexOf(typedParam, flag)).toBe('00000001620000000000000600000001');
});
