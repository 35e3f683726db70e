/** Pictures of a guest's screens: QEMU writes them to a file of ours, one after the other. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError, isVirtError, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Screenshot } from '../driver.ts';
import { videoHead } from './find-device.ts';
import type { QmpClient } from './qmp/client.ts';

/** The name of the screenshot file in the guest's directory, which is QEMU's working directory. */
export const screenFile = 'screen';
/** More than an uncompressed picture of 8192 x 8192 pixels. */
const MAX_SCREEN_BYTES = 256 * 1024 * 1024;

/** Takes pictures one at a time: all of them go through the same file. */
export class ScreenCamera {
  private turn: Promise<unknown> = Promise.resolve();

  /** @throws VirtError domain.no-device without such a screen, qmp.*, file.* */
  take(shot: {
    readonly qmp: () => QmpClient;
    readonly definition: () => DomainDef;
    /** The guest's directory. */
    readonly directory: string;
    readonly screen: number;
  }): Promise<Screenshot> {
    const turn = this.turn.then(() => takeScreenshot(shot));
    this.turn = turn.catch(() => undefined); // Its caller hears of the failure.
    return turn;
  }
}

async function takeScreenshot(shot: Parameters<ScreenCamera['take']>[0]): Promise<Screenshot> {
  const { screen } = shot;
  const target = { filename: screenFile, ...videoHead(shot.definition(), screen) };
  const qmp = shot.qmp();
  // `format` came with QEMU 7.1, and PNG is a build option; a QEMU without says so and writes a pixmap when asked again.
  const mime = await qmp.execute('screendump', { ...target, format: 'png' }).then(
    () => 'image/png' as const,
    async (error: unknown) => {
      if (!isVirtError(error, 'qmp.failed') || !/format|png/i.test(error.reason))
        throw noScreen(error, screen);
      await qmp.execute('screendump', target);
      return 'image/x-portable-pixmap' as const;
    },
  );
  return { mime, bytes: await readScreen(join(shot.directory, screenFile)) };
}

function noScreen(error: unknown, screen: number): unknown {
  if (!isVirtError(error, 'qmp.failed') || !/no console|not found|head/i.test(error.reason)) return error;
  return new VirtError('domain.no-device', {
    wanted: `take a picture of screen ${screen}`,
    reason: error.reason,
    cause: error,
  });
}

/** The file is the guest's own, in a directory that is ours: its name cannot have become a link. */
async function readScreen(path: string): Promise<Buffer> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    throw fileError(error, 'read a screenshot', path);
  });
  try {
    const { size } = await handle.stat();
    if (size === 0 || size > MAX_SCREEN_BYTES)
      throw new VirtError('file.failed', { wanted: 'read a screenshot', reason: `QEMU wrote ${size} bytes` });
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}
