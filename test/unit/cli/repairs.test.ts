/** What errors advise to do can be done: each command that they name is there. */
import { describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../../src/base/errors.ts';
import { repairs } from '../../../src/base/repairs.ts';
import { runCli } from './run-cli.ts';

const commands = (Object.keys(repairs) as ErrorCode[]).flatMap((code) =>
  [...repairs[code].matchAll(/'vireo ([a-z][a-z -]*[a-z])/g)].map(([, words = '']) => [code, words] as const),
);

describe('the repairs of errors', () => {
  it.each(commands)('%s: vireo %s', async (_code, words) => {
    const { code, stdout } = await runCli([...words.split(' '), '--help']);
    expect(code).toBe(0);
    // The help of a noun alone would mean that its verb is not there.
    expect(stdout).toContain(`Usage: vireo ${words.split(' ')[0]}`);
    if (words.includes(' ')) expect(stdout.split('\n')[0]).toContain(words.split(' ').at(-1));
  });
});
