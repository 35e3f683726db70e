/** Keys pressed on a guest's keyboard. */
import { isVirtError, VirtError } from '../../base/errors.ts';
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
  try {
    await qmp().execute('send-key', {
      keys: keys.map((data) => ({ type: 'qcode' as const, data })),
      ...(holdMs > 0 && { 'hold-time': holdMs }),
    });
  } catch (error) {
    throw unknownKey(error, keys) ?? error;
  }
}

/** QEMU's answer to a name that its enumeration has not: "Parameter 'data' does not accept value 'nokey'". */
function unknownKey(error: unknown, keys: readonly string[]): VirtError | undefined {
  if (!isVirtError(error, 'qmp.failed')) return undefined;
  const index = keys.findIndex((key) => error.reason.endsWith(`does not accept value '${key}'`));
  if (index === -1) return undefined;
  return new VirtError('request.invalid', {
    wanted: 'send keys',
    reason: `'${keys[index]}' is no key that this QEMU knows`,
    hint: "'ctrl', 'alt', 'delete', 'a', ...: QEMU's QKeyCode; or Linux names, like KEY_A",
    details: { problems: [{ path: `keys[${index}]`, message: 'is unknown' }] },
    cause: error,
  });
}
