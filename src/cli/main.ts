/** The entry of the `vireo` command: runs the command line, tells failures, sets the exit status. */
import { type Command, CommanderError } from 'commander';
import { errnoOf, VirtError } from '../base/errors.ts';
import { Cli, type World } from './cli.ts';
import { exitCodeFor, exitCodes } from './exit-codes.ts';
import { buildProgram } from './program.ts';

/** Runs one command line; returns the exit status. Never throws. */
export async function runCommandLine(args: readonly string[], world: World): Promise<number> {
  const cli = new Cli(world);
  // Errors of the command line itself are told in the form that it asks for.
  cli.configure({ json: args.includes('--json'), color: !args.includes('--no-color') });
  let program: Command | undefined;
  try {
    program = buildProgram(cli);
    if (args.length === 0) {
      program.outputHelp();
      return exitCodes.ok;
    }
    await program.parseAsync([...args], { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return tellCommanderError(cli, error, program);
    cli.out.error(error);
    return exitCodeFor(error);
  }
}

/** Help and version come as CommanderErrors too, with exit code 0. */
function tellCommanderError(cli: Cli, error: CommanderError, program: Command | undefined): number {
  if (error.exitCode === 0) return exitCodes.ok;
  // A noun without a verb: its help was asked for, in a way.
  if (error.code === 'commander.help') return exitCodes.usage;
  const [reason = '', suggestion] = error.message.replace(/^error: /, '').split('\n');
  const elsewhere = suggestion === undefined ? verbsNamed(program, reason) : [];
  const hint = elsewhere.length === 0 ? suggestionOf(suggestion) : `did you mean ${elsewhere.join(', ')}?`;
  cli.out.error(new VirtError('request.invalid', { reason, hint }));
  return exitCodes.usage;
}

/** Where a verb that is unknown by itself is one: `domain set-memory` for `set-memory`. */
function verbsNamed(program: Command | undefined, reason: string): string[] {
  const verb = /^unknown command '(.*)'$/.exec(reason)?.[1];
  const nouns = program?.commands.filter(({ commands }) => commands.some((one) => one.name() === verb)) ?? [];
  return nouns.map((noun) => `${noun.name()} ${verb}`);
}

/** Commander's suggestion, `(Did you mean list?)`, in our form. */
function suggestionOf(text: string | undefined): string {
  const meant = /^\(Did you mean (?:one of )?(.*)\?\)$/.exec(text ?? '')?.[1];
  return meant === undefined ? "add '--help' to see what there is" : `did you mean ${meant}?`;
}

/** True where this file is what Node was started with. */
if (import.meta.main) {
  // Set by the launcher, for this process alone.
  delete process.env['NODE_COMPILE_CACHE'];
  // `vireo list | head -1`: the reader has enough.
  process.stdout.on('error', (error) => {
    if (errnoOf(error) === 'EPIPE') process.exit(exitCodes.ok);
    throw error;
  });
  const { stdout, stderr, env } = process;
  process.exitCode = await runCommandLine(process.argv.slice(2), {
    get stdin() {
      return process.stdin;
    },
    stdout,
    stderr,
    env,
    cwd: process.cwd(),
    uid: process.getuid?.() ?? 0,
  });
}
