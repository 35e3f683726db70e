import { describe, expect, it } from 'vitest';
import { untilEscape } from '../../../src/cli/console/attach.ts';

describe('the escape byte', () => {
  it('cuts off what follows it', () => {
    expect(untilEscape(Buffer.from('ab\u001dcd'))).toEqual({ data: Buffer.from('ab'), isEscape: true });
    expect(untilEscape(Buffer.from('abcd'))).toEqual({ data: Buffer.from('abcd'), isEscape: false });
  });
});
