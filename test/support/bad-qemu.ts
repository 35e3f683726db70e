/** A program in QEMU's place that is the real one, except for guests named `bad`, for which it fails as it is told. */
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeForEverybody } from './for-everybody.ts';

/** How it fails: at which step of a start, and whether it ends or hangs there. */
export type Failure =
  | 'ends at once'
  | 'never greets'
  | 'ends after the greeting'
  | 'ends at cont'
  | 'refuses cont'
  | 'never answers cont'
  | 'greets with noise'
  | 'floods';

/** What it says on stderr before it ends. */
export const lastWords = 'qemu: the moon is in the wrong phase';

/** Speaks QMP on the listening descriptor of the monitor's character device. */
const monitor = `
import { createServer } from 'node:net';
const failure = process.argv[2];
const fd = Number(/id=charmonitor,fd=(\\d+)/.exec(process.argv.join(' '))[1]);
const end = () => { process.stderr.write(${JSON.stringify(`${lastWords}\n`)}, () => process.exit(1)); };
createServer((socket) => {
  socket.on('error', end);
  const say = (message) => socket.write(JSON.stringify(message) + '\\r\\n');
  if (failure === 'greets with noise') return void socket.write('HTTP/1.1 400 Bad Request\\r\\n\\r\\n');
  say({ QMP: { version: { qemu: { micro: 22, minor: 2, major: 7 }, package: '' }, capabilities: [] } });
  if (failure === 'ends after the greeting') return end();
  if (failure === 'floods') {
    const more = () => { while (socket.write('x'.repeat(65536))); socket.once('drain', more); };
    return more();
  }
  // The client waits for each answer before it asks again, so a chunk is one command.
  socket.on('data', (chunk) => {
    const { execute, id } = JSON.parse(chunk);
    if (execute !== 'cont') say({ return: execute.startsWith('query') ? [] : {}, id });
    else if (failure === 'ends at cont') end();
    else if (failure === 'refuses cont') say({ error: { class: 'GenericError', desc: ${JSON.stringify(lastWords)} }, id });
  });
}).listen({ fd });
`;

/** Writes the program below `directory`, which any user must be able to enter; its path is for <emulator>. */
export function writeBadQemu(
  directory: string,
  real: string,
): { path: string; fail(failure: Failure): void } {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  const files = { program: join(directory, 'qemu-system-x86_64'), mode: join(directory, 'failure') };
  const script = join(directory, 'monitor.mjs');
  writeFileSync(script, monitor, { mode: 0o644 });
  // By a name of its own, so that nobody takes another's for this one.
  const sleep = join(directory, 'sleep');
  symlinkSync('/bin/sleep', sleep);
  writeFileSync(
    files.program,
    `#!/bin/sh
case "$*" in *guest=bad*) ;; *) exec '${real}' "$@" ;; esac
failure=$(cat '${files.mode}')
case $failure in
  'ends at once') echo '${lastWords}' >&2; exit 1 ;;
  'never greets') exec '${sleep}' 600 ;;
  *) exec '${nodeForEverybody(directory)}' '${script}' "$failure" "$@" ;;
esac
`,
  );
  chmodSync(files.program, 0o755);
  return {
    path: files.program,
    fail: (failure) => writeFileSync(files.mode, failure, { mode: 0o644 }),
  };
}
