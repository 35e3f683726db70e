/** Lets the user edit a text in their own editor, on this terminal. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VirtError } from '../base/errors.ts';
import { findProgram } from '../base/exec.ts';
import { posixSpawn, reapChild, type WaitStatus } from '../base/ffi.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** VISUAL, EDITOR, or the first usual editor that is installed; the words of the command. */
async function editorCommand(env: Environment): Promise<string[]> {
  const named = env['VISUAL'] || env['EDITOR'];
  const words = named?.trim().split(/\s+/) ?? [];
  const candidates = words[0] ? [words[0]] : ['sensible-editor', 'editor', 'nano', 'vim', 'vi'];
  for (const candidate of candidates) {
    const path = candidate.startsWith('/') ? candidate : ((await inPath(candidate, env)) ?? candidate);
    const program = await findProgram(path);
    if (program !== undefined) return [program, ...words.slice(1)];
  }
  throw new VirtError('program.missing', {
    wanted: 'edit a text',
    reason: words[0] ? `the editor '${words[0]}' is not installed` : 'no editor was found',
    hint: 'set EDITOR to the name of an installed editor',
  });
}

// The user's own PATH goes first: editors live in odd places.
async function inPath(name: string, env: Environment): Promise<string | undefined> {
  for (const directory of (env['PATH'] ?? '').split(':').filter((entry) => entry.startsWith('/'))) {
    const found = await findProgram(join(directory, name));
    if (found !== undefined) return found;
  }
  return undefined;
}

async function waitForChild(pid: number): Promise<WaitStatus> {
  for (;;) {
    const status = reapChild(pid);
    if (status) return status;
    await sleep(30);
  }
}

/** A file with a text being edited, in a private directory of its own. */
export class EditedFile {
  readonly path: string;
  readonly #directory: string;

  private constructor(directory: string, path: string) {
    this.#directory = directory;
    this.path = path;
  }

  /** Writes `text` to a new file whose name ends in `suffix` (editors choose colours by it). */
  static async create(text: string, suffix: string): Promise<EditedFile> {
    const directory = await mkdtemp(join(tmpdir(), 'vireo-edit-'));
    const file = new EditedFile(directory, join(directory, `definition${suffix}`));
    await writeFile(file.path, text, { mode: 0o600 });
    return file;
  }

  /** Runs the editor, and returns the text it left. @throws VirtError program.missing, program.failed */
  async edit(env: Environment): Promise<string> {
    const [program = '', ...args] = await editorCommand(env);
    // Ctrl-C belongs to the editor while it has the terminal.
    const ignore = () => undefined;
    process.on('SIGINT', ignore);
    try {
      const pid = posixSpawn({
        file: program,
        argv: [program, ...args, this.path],
        environment: Object.entries(env).flatMap(([name, value]) =>
          value === undefined ? [] : [`${name}=${value}`],
        ),
        directory: process.cwd(),
        descriptors: [0, 1, 2],
        newSession: false,
      });
      const status = await waitForChild(pid);
      if (status.exitCode !== 0)
        throw new VirtError('program.failed', {
          wanted: 'edit the definition',
          reason: `the editor ${program} ended with ${status.signal === undefined ? `status ${status.exitCode}` : `signal ${status.signal}`}`,
          hint: `your text is in ${this.path}`,
        });
    } finally {
      process.off('SIGINT', ignore);
    }
    return readFile(this.path, 'utf8');
  }

  async remove(): Promise<void> {
    await rm(this.#directory, { recursive: true });
  }
}
