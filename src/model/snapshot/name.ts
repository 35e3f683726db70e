/** What a snapshot may be called: its name becomes the name of a file, and a tag in images. */
import { BadValue, type Scalar } from '../../base/xml/codec.ts';
import { nameProblem } from '../domain/names.ts';

/** Endings of ours come behind it (NAME_MAX is 255, limits.h); a tag in a qcow2 image has 16 bits for its length. */
const MAX_BYTES = 240;

/** Why a text can't be the name of a snapshot; undefined when it can. */
export function snapshotNameProblem(name: string): string | undefined {
  if (Buffer.byteLength(name, 'utf8') > MAX_BYTES) return `is longer than ${MAX_BYTES} bytes`;
  if (name.startsWith('.')) return "must not start with '.'";
  return nameProblem(name);
}

/** A snapshot's name in a document. */
export const snapshotName: Scalar<string> = {
  parse(text) {
    const problem = snapshotNameProblem(text);
    if (problem !== undefined) throw new BadValue(problem);
    return text;
  },
  format: (value) => value,
};
