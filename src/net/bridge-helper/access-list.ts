/**
 * The list of bridges that users may put guests on: /etc/qemu/bridge.conf, as qemu-bridge-helper reads it (QEMU,
 * qemu-bridge-helper.c): `allow NAME|all`, `deny NAME|all`, `include FILE`, comments with `#`. One `deny` that fits wins.
 */
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../../base/errors.ts';

/** Where every distribution's QEMU is built to look. */
export const accessListPath = '/etc/qemu/bridge.conf';

/** Files that include each other in a circle end here; the helper itself would go on until it has no descriptors. */
const MAX_DEPTH = 8;

interface Rule {
  readonly kind: 'allow' | 'deny';
  /** A bridge, or `all`. */
  readonly bridge: string;
}

/** What a list says of one bridge; `unreadable` when the list is root's secret (0640), `faulty` when it has errors. */
export type Verdict =
  | { readonly kind: 'allowed' | 'denied' | 'unlisted' }
  | { readonly kind: 'missing' | 'unreadable'; readonly path: string }
  | { readonly kind: 'faulty'; readonly path: string; readonly line: number };

type Outcome = readonly Rule[] | Exclude<Verdict, { readonly kind: 'allowed' | 'denied' | 'unlisted' }>;

const isRules = (outcome: Outcome): outcome is readonly Rule[] => Array.isArray(outcome);

/** What the list says of a bridge. `read` throws as readFile does. */
export async function bridgeVerdict(
  bridge: string,
  path: string = accessListPath,
  read: (path: string) => Promise<string> = (file) => readFile(file, 'utf8'),
): Promise<Verdict> {
  const rules = await readRules(path, read, 0);
  return isRules(rules) ? { kind: judge(rules, bridge) } : rules;
}

/** The bridges that are allowed by name; `all` stands for every one. Empty when the list cannot be read. */
export async function allowedBridges(
  path: string = accessListPath,
  read: (path: string) => Promise<string> = (file) => readFile(file, 'utf8'),
): Promise<string[]> {
  const rules = await readRules(path, read, 0);
  if (!isRules(rules)) return [];
  const named = rules.filter(({ kind }) => kind === 'allow').map(({ bridge }) => bridge);
  return [...new Set(named)].filter((bridge) => judge(rules, bridge) === 'allowed');
}

function judge(rules: readonly Rule[], bridge: string): 'allowed' | 'denied' | 'unlisted' {
  const fits = rules.filter((rule) => rule.bridge === 'all' || rule.bridge === bridge);
  if (fits.some(({ kind }) => kind === 'deny')) return 'denied';
  return fits.length > 0 ? 'allowed' : 'unlisted';
}

async function readRules(
  path: string,
  read: (path: string) => Promise<string>,
  depth: number,
): Promise<Outcome> {
  let text: string;
  try {
    text = await read(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return { kind: 'missing', path };
    if (errno === 'EACCES' || errno === 'EPERM') return { kind: 'unreadable', path };
    throw error;
  }
  const rules: Rule[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const words = line.trim();
    if (words === '' || words.startsWith('#')) continue;
    const [, kind, argument = ''] = /^(\S+)\s+(\S.*)$/.exec(words) ?? [];
    if (kind === 'allow' || kind === 'deny') {
      rules.push({ kind, bridge: argument });
      continue;
    }
    if (kind !== 'include' || depth === MAX_DEPTH) return { kind: 'faulty', path, line: index + 1 };
    const included = await readRules(argument, read, depth + 1);
    if (!isRules(included)) return included;
    rules.push(...included);
  }
  return rules;
}
