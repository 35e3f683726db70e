/** The command line against a daemon that the tests of one file share; before each it answers nothing and was asked nothing. */
import { Readable } from 'node:stream';
import { afterAll, beforeEach } from 'vitest';
import { FakeDaemon } from './fake-daemon.ts';
import { type CliRun, runCli } from './run-cli.ts';

export interface CliRig {
  readonly daemon: FakeDaemon;
  /** Runs `vireo` with these words. */
  readonly vireo: (...args: string[]) => Promise<CliRun>;
  /** The same with something to read. */
  readonly vireoWithInput: (input: string, ...args: string[]) => Promise<CliRun>;
}

/** `verb` stands before the words of every run. */
export async function cliRig(...verb: string[]): Promise<CliRig> {
  const daemon = await FakeDaemon.start({});
  afterAll(() => daemon[Symbol.asyncDispose]());
  beforeEach(() => {
    daemon.calls.length = 0;
    daemon.answers = {};
  });
  const { socketPath } = daemon;
  return {
    daemon,
    vireo: (...args) => runCli([...verb, ...args], { socketPath }),
    vireoWithInput: (input, ...args) =>
      runCli([...verb, ...args], { socketPath, stdin: Readable.from([Buffer.from(input)]) }),
  };
}
