/** The program vireod: reads its command line, and serves. */
import { parseDaemonArguments, usage } from './arguments.ts';
import { keepCompiledCode } from './compiled-code.ts';
import { openEarlyDoor } from './early-door.ts';
import { fail } from './fail.ts';
import { daemonPaths } from './paths.ts';
import { withRepair } from './start-repairs.ts';

async function main(): Promise<void> {
  const uid = process.getuid?.() ?? 0;
  const args = parseDaemonArguments(process.argv.slice(2), uid);
  if (args.show !== undefined) {
    process.stdout.write(args.show === 'help' ? usage : `vireod ${await readVersion()}\n`);
    return;
  }
  // Before the daemon's modules are loaded: it is their code that is kept.
  keepCompiledCode(daemonPaths({ ...args, uid }).cache, uid);
  try {
    const early = await openEarlyDoor(args);
    await import('./serve.ts')
      .then(({ serve }) => serve(args, early))
      .catch((error: unknown) => {
        early?.abandon();
        throw error;
      });
  } catch (error) {
    throw withRepair(error, { ...args, uid });
  }
}

async function readVersion(): Promise<string> {
  const { version } = await import('./version.ts');
  return version;
}

main().catch((error: unknown) => fail(error));
