/** Editing a stored definition: read, edit, store; what is refused can be edited again, and is never lost. */
import { isVirtError, VirtError } from '../base/errors.ts';
import { parseXml } from '../base/xml/parse.ts';
import { childOf, textOf } from '../base/xml/tree.ts';
import type { Cli } from './cli.ts';
import { EditedFile } from './editor.ts';
import { confirm } from './prompt.ts';

/** What is edited, and how it is read and stored. */
export interface Editing {
  readonly noun: 'domain' | 'network' | 'pool';
  readonly name: string;
  readonly read: () => Promise<{ readonly xml: string }>;
  /** Stores the text and says so. */
  readonly store: (xml: string) => Promise<void>;
  /** Commands that hints name. */
  readonly commands: { readonly show: string; readonly define: string; readonly rename?: string };
}

/** @throws VirtError request.invalid without a terminal; what storing throws, with the place of the kept text */
export async function editDefinition(cli: Cli, editing: Editing): Promise<void> {
  const { stdin, env } = cli.world;
  const { noun, name, commands } = editing;
  // An editor that was named may be a program that needs no terminal.
  if (stdin.isTTY !== true && !env['VISUAL'] && !env['EDITOR'])
    throw new VirtError('request.invalid', {
      wanted: `edit ${noun} '${name}'`,
      reason: 'there is no terminal for an editor',
      hint: `use '${commands.show}' and '${commands.define}'`,
    });
  // The connection is not kept while the user thinks: the daemon may be restarted meanwhile.
  const { xml } = await editing.read();
  const file = await EditedFile.create(xml, '.xml');
  for (;;) {
    const edited = await file.edit(env);
    if (edited === xml) {
      await file.remove();
      cli.out.result({ changed: false }, () => `Nothing was changed in '${name}'.\n`);
      return;
    }
    try {
      refuseAnotherIdentity(edited, xml, editing);
      await editing.store(edited);
    } catch (error) {
      if (await wantsAnotherTry(cli, error)) continue;
      throw keptText(error, file.path, commands.define);
    }
    await file.remove();
    return;
  }
}

/** An edited name or uuid would quietly define a second one. */
function refuseAnotherIdentity(edited: string, before: string, { noun, commands }: Editing): void {
  const after = identityOf(edited);
  const was = identityOf(before);
  const rename = commands.rename === undefined ? '' : `'${commands.rename}', or `;
  for (const field of ['name', 'uuid'] as const) {
    if (after[field] === was[field]) continue;
    throw new VirtError('request.invalid', {
      wanted: `store the definition of '${was.name}'`,
      reason: `its ${field} was changed from ${was[field]} to ${after[field] ?? 'nothing'}`,
      hint:
        field === 'name'
          ? `use ${rename}'${commands.define}' for another ${noun}`
          : `leave the uuid as it was; '${commands.define}' makes another ${noun}`,
    });
  }
}

function identityOf(xml: string): { readonly name: string | undefined; readonly uuid: string | undefined } {
  const root = parseXml(xml);
  const textOfChild = (name: string) => {
    const child = childOf(root, name);
    return child && textOf(child).trim();
  };
  return { name: textOfChild('name'), uuid: textOfChild('uuid') };
}

async function wantsAnotherTry(cli: Cli, error: unknown): Promise<boolean> {
  if (cli.world.stdin.isTTY !== true || cli.out.isJson) return false;
  cli.out.error(error);
  return confirm(cli, 'Edit it again?', false).then(
    () => true,
    (refused: unknown) => {
      if (isVirtError(refused, 'operation.aborted')) return false;
      throw refused;
    },
  );
}

function keptText(error: unknown, path: string, define: string): unknown {
  if (!isVirtError(error)) return error;
  const { code, wanted, reason, hint, details } = error;
  return new VirtError(code, {
    reason,
    hint: `${hint === undefined ? '' : `${hint}; `}your text is in ${path}: mend it and run '${define} ${path}'`,
    ...(wanted !== undefined && { wanted }),
    ...(details && { details }),
    cause: error,
  });
}
