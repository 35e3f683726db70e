/** The option ROM of a PCI device. */
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

interface WithRom {
  readonly rom?:
    | { enabled?: boolean | undefined; bar?: boolean | undefined; file?: string | undefined }
    | undefined;
}

/** The option ROM: another file, hidden, or none at all (an empty file name). */
export function romOptions(b: Build, device: WithRom, path: string): JsonObject {
  const { rom } = device;
  if (rom === undefined) return {};
  if (rom.enabled === false) return { romfile: '' };
  return {
    rombar: rom.bar === undefined ? undefined : Number(rom.bar),
    romfile: rom.file === undefined ? undefined : b.copy(rom.file, `${path}.rom`),
  };
}
