import { describe, expect, it } from 'vitest';
import { utf8Bytes } from '../../../src/base/buffers.ts';

describe('the bytes of a text', () => {
  it.each(['', 'plain', 'é €  𝄞', 'x'.repeat(100_000)])('are its UTF-8: %.12s', (text) => {
    expect(utf8Bytes(text).equals(new TextEncoder().encode(text))).toBe(true);
  });
});
