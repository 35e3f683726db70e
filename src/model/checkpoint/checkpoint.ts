/** A checkpoint's definition: libvirt's <domaincheckpoint> document, each element declared once. */
import {
  attr,
  child,
  children,
  childText,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  wrapped,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { longText, matching, oneOf, str, uint } from '../../base/xml/scalars.ts';
import { formatXml } from '../../base/xml/tree.ts';
import { checked, need } from '../domain/devices/combinators.ts';
import { embeddedDomain } from '../domain/domain.ts';

/** libvirt's rule (domaincheckpoint.rng, checkpointName); endings of files come behind it (NAME_MAX is 255, limits.h). */
const nameRule = /^[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,199}$/;

/** A checkpoint's name in a document. */
export const checkpointName = matching(
  nameRule,
  "the name of a checkpoint: letters, digits, '_', '-', '.', the first of them no '.'",
);

/** Why a text can't be the name of a checkpoint; undefined when it can. */
export function checkpointNameProblem(name: string): string | undefined {
  return nameRule.test(name)
    ? undefined
    : "may have letters, digits, '_', '-' and '.' (not first), at most 200 of them";
}

const diskCodec = checked(
  object({
    /** Target (`vda`), or the path of the image. */
    name: need('name', matching(/^[^\p{Cc}]{1,1024}$/u, 'the target of a disk, or the path of its image')),
    /** `bitmap` (when left out): what is written from then on is noted in a dirty bitmap. */
    checkpoint: attr('checkpoint', oneOf('no', 'bitmap')),
    bitmap: attr('bitmap', str({ max: 1023 })),
    /** Bytes that were written since, where somebody asked for it. */
    sizeBytes: attr('size', uint()),
  }),
  ({ checkpoint, bitmap, sizeBytes }, reader) => {
    if (checkpoint !== 'no') return;
    if (bitmap !== undefined) reader.problem(reader.at('bitmap'), 'does not go with a disk that is left out');
    if (sizeBytes !== undefined)
      reader.problem(reader.at('size'), 'does not go with a disk that is left out');
  },
);

/** One disk of a checkpoint. */
export type CheckpointDisk = Infer<typeof diskCodec>;

const shape = object({
  name: childText('name', checkpointName),
  description: childText('description', longText(65_536)),
  parent: child('parent', object({ name: childText('name', checkpointName) })),
  /** Seconds since 1970. */
  creationTime: childText('creationTime', uint()),
  disks: wrapped('disks', children('disk', diskCodec)),
  /** The definition at that time. */
  domain: embeddedDomain('domain'),
});

/** A checkpoint as its document tells it. */
export type CheckpointDef = Infer<typeof shape>;

/** A checkpoint as it is kept. */
export type Checkpoint = CheckpointDef & { readonly name: string; readonly creationTime: number };

/**
 * Reads a document.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`
 */
export function parseCheckpoint(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: CheckpointDef; readonly dropped: readonly string[] } {
  const { value, dropped } = readDocument(shape, parseXml(xml), 'domaincheckpoint', {
    mode: options.mode,
    what: 'checkpoint',
  });
  return { definition: value, dropped };
}

/** Prints a checkpoint as libvirt does. `secure`: with passwords; `noDomain`: without the definition in it. */
export function formatCheckpoint(
  definition: CheckpointDef,
  options: { readonly secure?: boolean; readonly noDomain?: boolean } = {},
): string {
  const { domain: _domain, ...rest } = definition;
  const shown = options.noDomain === true ? rest : definition;
  return formatXml(
    writeElement(shape, 'domaincheckpoint', shown, { inactive: true, secure: options.secure ?? false }),
  );
}
