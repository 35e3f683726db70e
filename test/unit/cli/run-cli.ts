/** Runs the command line inside the test's process, with streams of its own. */
import { PassThrough } from 'node:stream';
import type { World } from '../../../src/cli/cli.ts';
import { runCommandLine } from '../../../src/cli/main.ts';

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  /** The daemon's socket; without it no `-c` is given. */
  readonly socketPath?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: World['stdin'];
  readonly cwd?: string;
  readonly uid?: number;
}

export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const [out, err] = [collect(stdout), collect(stderr)];
  const code = await runCommandLine(
    options.socketPath === undefined ? args : ['-c', options.socketPath, ...args],
    {
      stdin: options.stdin ?? new PassThrough(),
      stdout,
      stderr,
      env: options.env ?? {},
      cwd: options.cwd ?? '/home/me',
      uid: options.uid ?? 1000,
    },
  );
  return { code, stdout: out(), stderr: err() };
}

function collect(stream: PassThrough): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => {
    for (let chunk = stream.read() as Buffer | null; chunk !== null; chunk = stream.read() as Buffer | null)
      chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  };
}
