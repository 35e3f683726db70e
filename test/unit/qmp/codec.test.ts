import { describe, expect, it } from 'vitest';
import {
  decodeMessage,
  encodeCommand,
  LineSplitter,
  nestingDepth,
} from '../../../src/drivers/qemu/qmp/codec.ts';

const protocol = expect.objectContaining({ code: 'qmp.protocol' });

function lines(splitter: LineSplitter, ...chunks: string[]): string[] {
  return chunks.flatMap((chunk) => [...splitter.push(Buffer.from(chunk))].map((line) => line.toString()));
}

describe('LineSplitter', () => {
  it('gives the same lines wherever the stream is cut', () => {
    const text = '{"a":1}\r\n\n{"b":"ü"}\n';
    const bytes = Buffer.from(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const splitter = new LineSplitter();
      const found = [bytes.subarray(0, cut), bytes.subarray(cut)].flatMap((part) =>
        [...splitter.push(part)].map((line) => line.toString()),
      );
      expect(found).toEqual(['{"a":1}\r', '', '{"b":"ü"}']);
    }
  });

  it('keeps an unfinished line until its end comes', () => {
    const splitter = new LineSplitter();
    expect(lines(splitter, 'abc', 'def')).toEqual([]);
    expect(lines(splitter, 'g\nh')).toEqual(['abcdefg']);
  });

  it('refuses a line over the limit, but not many short ones', () => {
    const splitter = new LineSplitter(10);
    expect(lines(splitter, '123456789\n'.repeat(100))).toHaveLength(100);
    expect(() => lines(splitter, '123456', '78901')).toThrow(protocol);
  });
});

describe('decodeMessage', () => {
  it.each(['[]', '1', 'null', '"x"', '{', '{"a":}', '\u0000'])('refuses %j', (text) => {
    expect(() => decodeMessage(Buffer.from(text))).toThrow(protocol);
  });

  it('takes an empty line for nothing', () => {
    expect(decodeMessage(Buffer.from(' \r'))).toBeUndefined();
  });

  it('refuses a million nested brackets without parsing them', () => {
    const before = performance.now();
    expect(() => decodeMessage(Buffer.from('['.repeat(1_000_000)))).toThrow(protocol);
    expect(performance.now() - before).toBeLessThan(100);
  });

  it('takes 64 levels and not 65', () => {
    const nested = (levels: number): Buffer =>
      Buffer.from(`{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`);
    expect(decodeMessage(nested(64))).toBeDefined();
    expect(() => decodeMessage(nested(65))).toThrow(protocol);
  });

  it('does not count brackets inside strings', () => {
    expect(nestingDepth(Buffer.from(String.raw`{"a":"\"[[[[\\","b":[1]}`), 64)).toBe(2);
  });

  it('never quotes the message in its error', () => {
    expect(() => decodeMessage(Buffer.from('{"password":"hunter2",}'))).not.toThrow(/hunter2/);
  });
});

describe('encodeCommand', () => {
  it('writes no blank and leaves empty arguments out', () => {
    expect(encodeCommand('cont', undefined, 1)).toBe('{"execute":"cont","id":1}');
    expect(encodeCommand('cont', {}, 2)).toBe('{"execute":"cont","id":2}');
    expect(encodeCommand('balloon', { value: 5 }, 3)).toBe(
      '{"execute":"balloon","arguments":{"value":5},"id":3}',
    );
  });

  it('cannot be split by what is in an argument', () => {
    const text = encodeCommand('x', { a: 'b"}\n{"execute":"quit"}' }, 4);
    expect(text).not.toContain('\n');
    expect(JSON.parse(text)).toEqual({ execute: 'x', arguments: { a: 'b"}\n{"execute":"quit"}' }, id: 4 });
  });
});
