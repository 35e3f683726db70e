/** Scalars of storage: names of pools and volumes, paths and modes. What they let through is safe as part of a path. */
import { BadValue, type Scalar } from '../../base/xml/codec.ts';
import { path } from '../../base/xml/scalars.ts';
import { nameProblem } from '../domain/names.ts';

/** What our own unfinished files begin with: never listed, and no volume may be called so. */
export const temporaryVolumePrefix = '.vireo-tmp-';

/** What the files of uploads begin with that broke off and may go on within a day. */
export const partialVolumePrefix = '.vireo-part-';

/** Where deleted volumes of a directory are kept for some days. */
export const trashDirectory = '.vireo-trash';

/** Why a text can't be the name of a volume; undefined when it can. Hidden files are no volumes. */
export function volumeNameProblem(name: string): string | undefined {
  if (name.startsWith('.')) return "must not begin with '.'";
  return nameProblem(name);
}

function named(problemOf: (name: string) => string | undefined): Scalar<string> {
  return {
    parse(text) {
      const problem = problemOf(text);
      if (problem !== undefined) throw new BadValue(problem);
      return text;
    },
    format: (value) => value,
  };
}

/** A pool's name: the rules of domain names. */
export const poolName = named(nameProblem);

/** A volume's name: a file name without a dot at its beginning. */
export const volumeName = named(volumeNameProblem);

/** An absolute path in its shortest spelling: no `..`, no empty step, no `/` at the end. */
export const plainPath: Scalar<string> = {
  parse(text) {
    const steps = path
      .parse(text)
      .split('/')
      .filter((step) => step !== '' && step !== '.');
    return `/${steps.join('/')}`;
  },
  format: (value) => value,
};

/** File permissions in octal, printed with one leading zero as libvirt does. */
export const octalMode: Scalar<number> = {
  parse(text) {
    const digits = text.trim();
    const value = Number.parseInt(digits, 8);
    if (!/^[0-7]{1,6}$/.test(digits) || value > 0o7777)
      throw new BadValue(`'${text.slice(0, 20)}' is not a file mode in octal`);
    return value;
  },
  format: (value) => (value === 0 ? '0' : `0${value.toString(8)}`),
};
