/** The netlink format: attributes as they are written and read. */
import { expect, it } from 'vitest';
import {
  attributeText,
  nestedAttribute,
  numberAttribute,
  parseAttributes,
  textAttribute,
} from '../../../src/base/netlink.ts';

it('pads attributes to four bytes and finds them again', () => {
  const text = textAttribute(3, 'virbr0');
  expect(text.toString('hex')).toBe('0b0003007669726272300000');
  const data = Buffer.concat([text, numberAttribute(4, 1500), numberAttribute(8, 1, 1)]);
  const found = parseAttributes(data);
  expect(attributeText(found.get(3))).toBe('virbr0');
  expect(found.get(4)?.readUInt32LE(0)).toBe(1500);
  expect(found.get(8)?.readUInt8(0)).toBe(1);
});

it('marks nested attributes, and reads them without the mark', () => {
  const nested = nestedAttribute(18, [textAttribute(1, 'bridge')]);
  expect(nested.readUInt16LE(2)).toBe(0x8000 | 18);
  const inner = parseAttributes(parseAttributes(nested).get(18) ?? Buffer.alloc(0));
  expect(attributeText(inner.get(1))).toBe('bridge');
});

it('ends quietly at every cut', () => {
  const whole = Buffer.concat([textAttribute(3, 'virbr0'), numberAttribute(4, 1500)]);
  for (let end = 0; end <= whole.length; end++)
    expect(parseAttributes(whole.subarray(0, end)).size).toBeLessThanOrEqual(2);
});
