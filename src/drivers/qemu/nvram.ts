/** The variables of UEFI firmware: a file for each domain, made from the firmware's template when it is missing. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileError, VirtError } from '../../base/errors.ts';
import { ensureDirectory, statIfPresent, writeDurable } from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/** A template is at most as large as the largest flash of a machine. */
const MAX_TEMPLATE_BYTES = 64 * 1024 * 1024;

/** Where the variables of a domain lie when its definition does not say: by uuid, so that a rename changes nothing. */
export function defaultNvramPath(directory: string, uuid: string): string {
  return join(directory, `${uuid}_VARS.fd`);
}

/** The file with the variables, where the definition has one. */
function nvramPath(definition: DomainDef): string | undefined {
  const { nvram } = definition.os;
  return nvram?.path ?? (nvram?.source?.type === 'file' ? nvram.source.file : undefined);
}

/**
 * Makes the variables' file from the template, whole and durable, 0600; a file that is there is left as it is, unless it
 * is to be made `anew`. Returns true when it was made.
 * @throws VirtError file.*, definition.unsupported when there is no template to make it from
 */
export async function ensureNvram(
  definition: DomainDef,
  { anew = false }: { readonly anew?: boolean } = {},
): Promise<boolean> {
  const path = nvramPath(definition);
  if (path === undefined) return false;
  const isThere = (await statIfPresent(path)) !== undefined;
  if (isThere && !anew) return false;
  const template = definition.os.nvram?.template;
  if (template === undefined)
    throw new VirtError('definition.unsupported', {
      wanted: `start '${definition.name}'`,
      reason: `os.nvram: ${path} ${isThere ? 'is to be made anew' : 'does not exist'}, and there is no template to make it from`,
      hint: "name a template, or use firmware='efi' to have one chosen",
      details: { path },
    });
  await ensureDirectory(dirname(path), 0o700);
  await writeDurable(path, await readTemplate(template), { mode: 0o600 });
  return true;
}

async function readTemplate(path: string): Promise<Buffer> {
  const stat = await statIfPresent(path);
  if (stat !== undefined && stat.size > MAX_TEMPLATE_BYTES)
    throw new VirtError('request.too-large', {
      wanted: 'read an NVRAM template',
      reason: `${path} is too large`,
    });
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError(error, 'read an NVRAM template', path);
  }
}
