/** Images that are descriptors of a client's: which of them QEMU is to use, and how. */
import type { PassedFile } from '../../driver.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** What is known of an image here: where it stands, and whether it is only read. */
interface PassedLayer {
  readonly readonly: boolean;
  readonly isBelow: boolean;
  readonly path: string;
}

/** What a command line is shown with that nobody starts: one of either kind, as for files of the host. */
const assumed: readonly PassedFile[] = [
  { fd: -1, access: 'rw', isDirect: true, isDevice: false },
  { fd: -1, access: 'ro', isDirect: true, isDevice: false },
];

const filesOf = (b: Build, group: string): readonly PassedFile[] =>
  b.context.passedGroups === undefined ? assumed : (b.context.passedGroups.get(group)?.files ?? []);

export function isPassedDevice(b: Build, group: string): boolean {
  return filesOf(b, group).some(({ isDevice }) => isDevice);
}

/** The descriptors in a set of their own; QEMU's name for it. */
export function passedFile(
  b: Build,
  layer: PassedLayer,
  group: string,
  { direct }: { readonly direct: boolean },
): string {
  const files = filesOf(b, group);
  const { major, minor } = b.caps.version;
  const isStrict = major > 9 || (major === 9 && minor >= 1);
  if (isStrict && files.some(({ isDirect }) => isDirect !== direct) && files !== assumed)
    b.problem(
      `${layer.path}.fdgroup`,
      `its descriptors are opened ${direct ? 'without' : 'with'} O_DIRECT, and this cache mode goes ${direct ? 'around' : 'through'} the page cache`,
    );
  return b.passed(group, files.length, layer.path);
}

/**
 * QEMU picks from a set by how it wants to open the file. With one for reading and one for writing it may change its mind
 * (`auto-read-only`); with a single one it opens it as that was opened (libvirt: formatdomain, fdgroup). What the guest
 * may do is said by the node above.
 */
export function passedAccess(b: Build, layer: PassedLayer, group: string): JsonObject {
  const kinds = new Set(filesOf(b, group).map(({ access }) => access));
  const isWritable = b.context.passedGroups?.get(group)?.isWritable === true;
  if (!layer.readonly && !kinds.has('rw'))
    b.problem(`${layer.path}.fdgroup`, `no descriptor of group '${group}' is open for reading and writing`);
  if (layer.isBelow && kinds.size === 2) return { 'auto-read-only': true };
  return { 'read-only': layer.readonly && kinds.has('ro') && !(isWritable && kinds.has('rw')) };
}
