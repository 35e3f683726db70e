/** Cutting bytes into lines, and lines into values. */
import { describe, expect, it } from 'vitest';
import { BadMessage, checkDepth, LineReader, LineTooLong, parseMessage } from '../../../src/api/framing.ts';

function linesOf(reader: LineReader): string[] {
  const lines: string[] = [];
  for (let line = reader.next(); line !== undefined; line = reader.next()) lines.push(line.toString());
  return lines;
}

describe('LineReader', () => {
  it('gives the same lines however the bytes are cut', () => {
    const text = Buffer.from('first\n\nsécond\r\nthird line\n\n\nlast\nrest');
    for (let size = 1; size <= text.length; size += 1) {
      const reader = new LineReader(100);
      const lines: string[] = [];
      for (let at = 0; at < text.length; at += size) {
        reader.push(text.subarray(at, at + size));
        lines.push(...linesOf(reader));
      }
      expect(lines).toEqual(['first', 'sécond\r', 'third line', 'last']);
      expect(reader.rest().toString()).toBe('rest');
    }
  });

  it('takes a line of exactly the limit and refuses one byte more, as soon as it has come', () => {
    const reader = new LineReader(4);
    reader.push(Buffer.from('1234\n'));
    expect(linesOf(reader)).toEqual(['1234']);
    reader.push(Buffer.from('123'));
    expect(linesOf(reader)).toEqual([]);
    reader.push(Buffer.from('45'));
    expect(() => reader.next()).toThrow(LineTooLong);
  });

  it('does not grow over what it has received', () => {
    const reader = new LineReader(32 * 1024 * 1024);
    for (let count = 0; count < 100_000; count += 1) {
      reader.push(Buffer.from('x'));
      expect(reader.next()).toBeUndefined();
    }
    reader.push(Buffer.from('\n'));
    expect(reader.next()?.length).toBe(100_000);
    expect(reader.rest().length).toBe(0);
  });

  it('gives back everything unread, and starts afresh', () => {
    const reader = new LineReader(100);
    reader.push(Buffer.from('a\nb'));
    reader.push(Buffer.from('c\nd'));
    expect(reader.next()?.toString()).toBe('a');
    expect(reader.rest().toString()).toBe('bc\nd');
    reader.push(Buffer.from('new\n'));
    expect(linesOf(reader)).toEqual(['new']);
  });

  it('keeps a line that was given out, whatever comes afterwards', () => {
    const reader = new LineReader(100);
    reader.push(Buffer.from('on'));
    reader.next();
    reader.push(Buffer.from('e\n'));
    const line = reader.next();
    reader.push(Buffer.from('tw'));
    reader.next();
    reader.push(Buffer.from('o\n'));
    reader.next();
    expect(line?.toString()).toBe('one');
  });
});

describe('parseMessage', () => {
  it.each(['{', '[', '"', '{"a":', '[1,', '', ' ', 'nul', '01', "{'a':1}", '{"a":1}x', '\ufeff{}', '[1,]'])(
    'refuses %j',
    (text) => {
      expect(() => parseMessage(Buffer.from(text))).toThrow(BadMessage);
    },
  );

  it('never quotes the text', () => {
    const failed = () => parseMessage(Buffer.from('{"secret": hunter2}'));
    expect(failed).toThrow(/not JSON/);
    expect(failed).not.toThrow(/hunter/);
  });

  it('makes own properties of poisonous keys', () => {
    const value = parseMessage(Buffer.from('{"__proto__":{"x":1}}')) as object;
    expect(Object.hasOwn(value, '__proto__')).toBe(true);
    expect('x' in value).toBe(false);
  });
});

describe('checkDepth', () => {
  it('counts brackets outside strings only', () => {
    for (const text of ['[[{}]]', '["[[[[[","]]]"]', '["\\"[[[[[["]', '["\\\\",[["x"]]]', '"[[[[[[[']) {
      expect(() => checkDepth(Buffer.from(text), 3)).not.toThrow();
    }
    for (const text of ['[[[[]]]]', '["\\\\",[[["x"]]]]', '[[[{']) {
      expect(() => checkDepth(Buffer.from(text), 3)).toThrow(BadMessage);
    }
  });

  it('agrees with JSON.parse about where strings end', () => {
    const pieces = ['"', '\\', '[', ']', 'a', '\\"', '\\\\', '{', '}'];
    let seed = 7;
    for (let round = 0; round < 5000; round += 1) {
      const inner = Array.from({ length: 12 }, () => {
        seed = (seed * 48_271) % 2_147_483_647;
        return pieces[seed % pieces.length] ?? '';
      }).join('');
      const text = JSON.stringify([inner, [inner]]);
      expect(() => checkDepth(Buffer.from(text), 2)).not.toThrow();
      expect(() => checkDepth(Buffer.from(text), 1)).toThrow(BadMessage);
    }
  });
});
