/** What the qemu: namespace adds, when the administrator allows it: words, environment, property overrides. */
import type { Build } from './context.ts';
import type { JsonObject, JsonValue } from './types.ts';

const REFUSED = 'is not allowed here; the administrator can enable it in vireod.toml';

/**
 * What anybody may set: where QEMU makes its temporary files, with the rights it has anyway. libguestfs sets it for its
 * appliance, and would not start without.
 */
const HARMLESS = 'TMPDIR';

/** <qemu:commandline>: words behind everything else, and environment variables. */
export function buildPassthrough(b: Build): void {
  const { qemuCommandline, qemuOverride } = b.definition;
  if (qemuOverride !== undefined && !b.context.allowCommandLinePassthrough)
    b.problem('qemu:override', REFUSED);
  if (qemuCommandline === undefined) return;
  const isHarmless = qemuCommandline.args.length === 0 && qemuCommandline.env.every(isTemporaryDirectory);
  if (!b.context.allowCommandLinePassthrough && !isHarmless) {
    b.problem('qemu:commandline', REFUSED);
    return;
  }
  b.passthrough.push(...qemuCommandline.args.map((arg) => arg.value));
  for (const { name, value } of qemuCommandline.env) b.environment[name] = value ?? '';
}

function isTemporaryDirectory({ name, value }: { name: string; value?: string | undefined }): boolean {
  return name === HARMLESS && value?.startsWith('/') === true;
}

/** A device with the properties that <qemu:override> sets or removes. */
export function overrideProperties(b: Build, json: JsonObject): JsonObject {
  const found = b.definition.qemuOverride?.devices.find((device) => device.alias === json.id);
  if (found === undefined || !b.context.allowCommandLinePassthrough) return json;
  const changed: Record<string, JsonValue | undefined> = { ...json };
  for (const property of found.frontend?.properties ?? [])
    changed[property.name] = overrideValue(b, found.alias, property);
  return changed;
}

interface Property {
  readonly name: string;
  readonly type: 'string' | 'signed' | 'unsigned' | 'bool' | 'remove';
  readonly value?: string | undefined;
}

function overrideValue(b: Build, alias: string, property: Property): JsonValue | undefined {
  const text = property.value ?? '';
  switch (property.type) {
    case 'remove':
      return undefined;
    case 'string':
      return text;
    case 'bool':
      return text === 'true' || text === 'yes' || text === 'on';
    case 'signed':
    case 'unsigned': {
      const value = Number(text);
      const isGood = /^-?(\d+|0x[0-9a-fA-F]+)$/.test(text) && Number.isSafeInteger(value);
      if (!isGood || (property.type === 'unsigned' && value < 0))
        b.problem(`qemu:override.${alias}.${property.name}`, `'${text}' is no ${property.type} number`);
      return value;
    }
  }
}
