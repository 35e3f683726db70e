/** What the file of a save tells that nobody waits for any more. */
import { statIfPresent } from '../base/files.ts';
import type { SavingRecord } from './driver.ts';

/** True where the file of a save is whole: it gets its own name as the last step. @throws VirtError file.* */
export async function isSaveWhole({ temporary, path, inode }: SavingRecord): Promise<boolean> {
  if ((await statIfPresent(temporary)) !== undefined) return false;
  // The file may have been given up as well; one that was there before has another number.
  return inode === undefined || (await statIfPresent(path))?.ino === inode;
}
