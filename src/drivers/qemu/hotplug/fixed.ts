/** What only the next start can change. */
import { type Problem, VirtError } from '../../../base/errors.ts';

/**
 * The error for parts that cannot change while the guest runs, of which there is at least one. Its `whileRunning` tells it
 * from what this QEMU cannot do at all: libvirt's clients know the two by different numbers.
 */
export function fixedWhileRunning(
  [first, ...more]: readonly [Problem, ...Problem[]],
  {
    wanted,
    hint = 'change the stored definition; it holds from the next start on',
  }: { readonly wanted: string; readonly hint?: string },
): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: `${first.path}: ${first.message}`,
    hint,
    details: { problems: [first, ...more], whileRunning: true },
  });
}
