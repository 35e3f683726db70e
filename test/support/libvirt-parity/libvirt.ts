/** Asks a private libvirtd what it makes of the documents. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ParityDocument } from './documents.ts';

/** What one daemon makes of one document; `error` when it refuses it. */
export interface Answer {
  readonly inactive?: string;
  readonly argv?: readonly string[];
  readonly live?: string;
  /** The definition after its second, enlarged definition. */
  readonly again?: string;
  readonly error?: string;
}

export interface DaemonAnswers {
  readonly documents: ReadonlyMap<string, Answer>;
  readonly capabilities: string;
  /** By machine. */
  readonly domainCapabilities: Readonly<Record<string, string>>;
}

export const parityMachines = ['pc', 'q35'] as const;

const scripts = import.meta.dirname;

/** Runs the whole set below `directory`, which is left with all questions and answers for a look. */
export async function askLibvirt(
  documents: readonly ParityDocument[],
  directory: string,
): Promise<DaemonAnswers> {
  const [asked, answers] = [join(directory, 'in'), join(directory, 'libvirt')];
  for (const path of [asked, answers]) await mkdir(path, { recursive: true });
  for (const { name, xml, live, insert } of documents) {
    await writeFile(join(asked, `${name}.xml`), xml);
    if (live) await writeFile(join(asked, `${name}.live`), '');
    if (insert !== undefined) await writeFile(join(asked, `${name}.insert`), `${insert}\n`);
  }
  const command = [join(scripts, 'private-libvirtd.sh'), join(directory, 'state')];
  await promisify(execFile)('bash', [...command, 'bash', join(scripts, 'ask-libvirt.sh'), asked, answers], {
    timeout: 300_000,
  });
  const read = async (file: string): Promise<string | undefined> =>
    existsSync(join(answers, file)) ? readFile(join(answers, file), 'utf8') : undefined;
  const found = new Map<string, Answer>();
  for (const { name } of documents) found.set(name, await readAnswer(name, read));
  const domainCapabilities: Record<string, string> = {};
  for (const machine of parityMachines)
    domainCapabilities[machine] = (await read(`domcapabilities-${machine}.xml`)) ?? '';
  return { documents: found, capabilities: (await read('capabilities.xml')) ?? '', domainCapabilities };
}

async function readAnswer(
  name: string,
  read: (file: string) => Promise<string | undefined>,
): Promise<Answer> {
  const [inactive, argv, live, again, error] = await Promise.all([
    read(`${name}.inactive.xml`),
    read(`${name}.argv`),
    read(`${name}.live.xml`),
    read(`${name}.again.inactive.xml`),
    Promise.all([read(`${name}.error`), read(`${name}.again.error`)]).then((all) => all.join('')),
  ]);
  return {
    ...(inactive !== undefined && { inactive }),
    ...(argv !== undefined && { argv: shellWords(argv) }),
    ...(live !== undefined && { live }),
    ...(again !== undefined && { again }),
    ...(error !== '' && { error: error.trim() }),
  };
}

/** The words of virsh's printed command: single quotes, double quotes and backslashes, nothing else occurs. */
export function shellWords(text: string): string[] {
  const words = text.match(/(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\[^\n]|[^\s'"\\])+/g) ?? [];
  return words.map((word) =>
    word.replace(
      /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/g,
      (_all, single?: string, double?: string, one?: string) =>
        single ?? double?.replace(/\\(.)/g, '$1') ?? one ?? '',
    ),
  );
}
