/** Keys pressed on a guest's keyboard. */
import { VirtError } from '../../base/errors.ts';
import type { QmpClient } from './qmp/client.ts';

/**
 * Presses keys together. Key codes are QEMU's QKeyCode names.
 * @throws VirtError request.invalid, qmp.*
 */
export async function sendKeys(qmp: () => QmpClient, keys: readonly string[], holdMs: number): Promise<void> {
  const bad = keys.find((key) => !/^[a-z0-9_]{1,32}$/.test(key));
  if (bad !== undefined || keys.length === 0 || keys.length > 16)
    throw new VirtError('request.invalid', {
      wanted: 'send keys',
      reason: bad === undefined ? 'one to sixteen keys are pressed together' : `'${bad}' is no key code`,
    });
  await qmp().execute('send-key', {
    keys: keys.map((data) => ({ type: 'qcode' as const, data })),
    ...(holdMs > 0 && { 'hold-time': holdMs }),
  });
}
