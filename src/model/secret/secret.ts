/** A secret's definition: what it is for and how it is kept, never its value (libvirt, "Secret XML format"). */
import { VirtError } from '../../base/errors.ts';
import {
  attr,
  child,
  childText,
  defaulted,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  required,
  variants,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { longText, str, uuidText, yesNo } from '../../base/xml/scalars.ts';
import { formatXml } from '../../base/xml/tree.ts';

/** A name that a definition of something else refers to; as long as an `usage` attribute may be. */
const name = str({ min: 1, max: 1024 });
const named = object({ name: required(childText('name', name), 'name') });

const usageCodec = variants('type', {
  /** Path of a volume whose data is encrypted with it, or another name for that volume: OpenStack's are its ids. */
  volume: object({ volume: required(childText('volume', name), 'volume') }),
  ceph: named,
  /** CHAP password of an iSCSI target. */
  iscsi: object({ target: required(childText('target', name), 'target') }),
  tls: named,
  vtpm: named,
});

/** What a secret is for. */
export type SecretUsage = Infer<typeof usageCodec>;
export const secretUsageTypes = ['volume', 'ceph', 'iscsi', 'tls', 'vtpm'] as const;
export type SecretUsageType = SecretUsage['type'];

const secretCodec = object({
  /** Kept in memory only, and gone with the daemon. */
  ephemeral: defaulted(attr('ephemeral', yesNo), false),
  /** Its value is for guests and pools, and shown to nobody. */
  private: defaulted(attr('private', yesNo), false),
  uuid: childText('uuid', uuidText),
  description: childText('description', longText(65_536)),
  usage: child('usage', usageCodec),
});

export type SecretDef = Infer<typeof secretCodec>;
/** A definition that can be stored. */
export type CompleteSecretDef = SecretDef & { readonly uuid: string };

/** A reference to a secret as definitions have it: by uuid, or by what it is for. */
export type SecretReference =
  | { readonly uuid: string }
  | { readonly type: SecretUsageType; readonly usage: string };

/** A reference as people write it: `TYPE:NAME`, or a uuid. */
export function parseSecretReference(text: string): SecretReference {
  const type = secretUsageTypes.find((word) => text.startsWith(`${word}:`));
  return type === undefined ? { uuid: text } : { type, usage: text.slice(type.length + 1) };
}

/**
 * As `<secret type='passphrase'>` of an encrypted disk or volume names one.
 * @throws VirtError request.invalid for a secret that is for something else
 */
export function parseVolumeSecret(text: string): { readonly uuid: string } | { readonly usage: string } {
  const reference = parseSecretReference(text);
  if ('uuid' in reference) return reference;
  if (reference.type === 'volume') return { usage: reference.usage };
  throw new VirtError('request.invalid', {
    wanted: 'open an encrypted volume',
    reason: `the secret '${text}' is for something else`,
    hint: 'name it by its uuid, or use one for a volume',
  });
}

/** How definitions of disks and pools refer to it, by `usage='...'`: unique among the secrets of one type. */
export function usageIdOf(usage: SecretUsage): string {
  switch (usage.type) {
    case 'volume':
      return usage.volume;
    case 'iscsi':
      return usage.target;
    case 'ceph':
    case 'tls':
    case 'vtpm':
      return usage.name;
  }
}

/**
 * Reads a definition.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`
 */
export function parseSecret(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: SecretDef; readonly dropped: readonly string[] } {
  const { value, dropped } = readDocument(secretCodec, parseXml(xml), 'secret', {
    mode: options.mode,
    what: 'secret definition',
  });
  return { definition: value, dropped };
}

/** Prints a definition as libvirt does. */
export function formatSecret(definition: SecretDef): string {
  return formatXml(writeElement(secretCodec, 'secret', definition));
}
