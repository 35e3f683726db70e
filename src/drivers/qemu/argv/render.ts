/** The one place where options become text: JSON, doubled commas and `-add-fd` live here and nowhere else. */
import type { JsonValue, QemuArg, QemuCommand } from './types.ts';

/**
 * The words after the binary's name. Every file descriptor that goes into an fdset comes first, since an option that
 * names `/dev/fdset/N` is read after it (QEMU handles -add-fd before all block devices, in any order; we keep it plain).
 */
export function renderArgs(command: QemuCommand): string[] {
  const words: string[] = [];
  for (const need of command.fds) {
    if (need.kind !== 'file' && need.kind !== 'passed') continue;
    words.push('-add-fd', `fd=${need.fd},set=${need.set}`);
    if (need.kind === 'file' && need.roFd !== undefined)
      words.push('-add-fd', `fd=${need.roFd},set=${need.set}`);
  }
  for (const arg of command.args) {
    words.push(arg.flag);
    if (arg.value !== undefined) words.push(renderValue(arg.value));
  }
  return [...words, ...command.passthrough];
}

/** The text of one option's value. */
export function renderValue(value: NonNullable<QemuArg['value']>): string {
  if (typeof value === 'string') return value;
  if ('json' in value) return renderJson(value.json);
  return value.pairs
    .filter(([, part]) => part !== undefined)
    .map(([key, part]) =>
      key === '' ? escapeCommas(part as PairValue) : `${key}=${escapeCommas(part as PairValue)}`,
    )
    .join(',');
}

/** Writes a number of any size as it is (V8; ECMAScript proposal json-parse-with-source), which has no types yet. */
const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown };

function renderJson(json: JsonValue): string {
  return JSON.stringify(json, (_key, value: unknown) =>
    typeof value === 'bigint' ? rawJSON(value.toString()) : value,
  );
}

type PairValue = string | number | boolean;

/** A comma inside a value is written twice (QEMU docs, invocation: "escaped by doubling"); booleans are on and off. */
function escapeCommas(value: PairValue): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return String(value).replaceAll(',', ',,');
}

/**
 * JSON options as key=value pairs, for option groups whose JSON form a binary doesn't take: nested objects and lists
 * become dotted keys (QEMU's keyval format, util/keyval.c).
 */
export function flattenJson(value: JsonValue, prefix = ''): (readonly [string, string | number | boolean])[] {
  if (value === null) return [];
  if (typeof value === 'bigint') return [[prefix, value.toString()]];
  if (typeof value !== 'object') return [[prefix, value]];
  const entries: [string, JsonValue | undefined][] = Array.isArray(value)
    ? value.map((item: JsonValue, index) => [String(index), item])
    : Object.entries(value);
  return entries.flatMap(([key, part]) =>
    part === undefined ? [] : flattenJson(part, prefix === '' ? key : `${prefix}.${key}`),
  );
}
