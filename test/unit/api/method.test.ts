/** How declarations hold their schemas. */
import { describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { event, method } from '../../../src/api/method.ts';

const about = { since: '0.1.0', summary: 'A test.', access: 'query', errors: [] } as const;

describe('a declaration', () => {
  it('makes its schemas when they are first looked at, once', () => {
    const params = vi.fn(() => z.strictObject({ name: z.string() }));
    const result = vi.fn(() => z.object({}));
    const declared = method({ ...about, name: 'test.one', params, result });
    expect(params).not.toHaveBeenCalled();
    expect(declared.params.parse({ name: 'a' })).toEqual({ name: 'a' });
    expect(declared.params).toBe(declared.params);
    expect(params).toHaveBeenCalledTimes(1);
    expect(result).not.toHaveBeenCalled();
  });

  it('takes schemas as they are, too', () => {
    const payload = z.object({ count: z.int() });
    expect(event({ name: 'test.two', since: '0.1.0', summary: 'A test.', payload }).payload).toBe(payload);
  });
});
