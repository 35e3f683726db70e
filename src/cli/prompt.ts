/** Asks the user a yes-or-no question on the terminal. */
import { createInterface } from 'node:readline/promises';
import { VirtError } from '../base/errors.ts';
import type { Cli } from './cli.ts';

/**
 * Returns when the user said yes; `isAgreed` skips the question.
 * @throws VirtError operation.aborted when they said no; request.invalid when there is nobody to ask
 */
export async function confirm(cli: Cli, question: string, isAgreed: boolean): Promise<void> {
  if (isAgreed) return;
  const { stdin, stderr } = cli.world;
  if (stdin.isTTY !== true)
    throw new VirtError('request.invalid', {
      reason: `there is no terminal to ask: ${question}`,
      hint: 'give --yes to agree beforehand',
    });
  const lines = createInterface({ input: stdin, output: stderr });
  const abort = new AbortController();
  // Ctrl-C and Ctrl-D are a no.
  lines.once('close', () => abort.abort());
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal: abort.signal });
    if (/^y(es)?$/i.test(answer.trim())) return;
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    stderr.write('\n');
  } finally {
    lines.close();
  }
  throw new VirtError('operation.aborted', { reason: 'not done, as you wished' });
}
