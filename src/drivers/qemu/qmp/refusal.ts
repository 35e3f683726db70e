/** Commands that QEMU may refuse since what they ask for is so already. */
import { isVirtError } from '../../../base/errors.ts';

/** QEMU has none of that name: it never had, or has no more. @throws VirtError qmp.* for all but a refusal */
export async function ignoringRefusal(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isVirtError(error, 'qmp.failed')) throw error;
  });
}
