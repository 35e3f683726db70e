/** What became of programs that tests run, failures included. */
import { type ChildProcessByStdio, execFile } from 'node:child_process';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** All that a program says until it ends, and how it ended. */
export function outcomeOf(child: ChildProcessByStdio<null, Readable, Readable>): Promise<Outcome> {
  return new Promise((done, fail) => {
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', fail);
    child.on('close', (code) => done({ code, stdout, stderr }));
  });
}

/** Runs a program; `text` is all that it printed, trimmed. */
export async function outcome(
  program: string,
  args: readonly string[],
): Promise<{ status: number; text: string }> {
  try {
    const { stdout, stderr } = await run(program, [...args], {
      timeout: 100_000,
      env: { ...process.env, LC_ALL: 'C' },
    });
    return { status: 0, text: (stdout + stderr).trim() };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { status: code, text: (stdout + stderr).trim() };
  }
}
