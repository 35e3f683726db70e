/** After a restart of the daemon: a save that was under way. Either its file is whole, or the guest goes on. */
import { unlink } from 'node:fs/promises';
import { errnoOf, reasonOf } from '../../../base/errors.ts';
import { statIfPresent } from '../../../base/files.ts';
import type { Logger } from '../../../base/log.ts';
import type { QemuGuest } from '../guest.ts';
import type { QmpClient } from '../qmp/client.ts';

/**
 * Settles a save that an earlier daemon had begun. A file gets its own name as the last step, so where the temporary one
 * is gone the state is whole and the guest has to end (`saved` is told). Else the save is called off, its file removed,
 * and the guest runs again if it did before. After a snapshot it goes on in any case, and as it was; whether there is one
 * is decided by whoever makes them.
 */
export async function recoverSave(guest: QemuGuest, qmp: QmpClient, log: Logger): Promise<void> {
  const { saving } = guest.record;
  if (saving === undefined) return;
  const facts = { domain: guest.definition.name, path: saving.path };
  if (saving.goesOn !== true && (await statIfPresent(saving.temporary)) === undefined) {
    log.warn(facts, 'a save was complete when the daemon ended; the guest is ended now');
    guest.replay({ kind: 'saved', seconds: Date.now() / 1000 });
    return;
  }
  log.warn(facts, 'a save was cut off with the daemon; it is called off');
  await cancel(qmp);
  await unlink(saving.temporary).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') log.error({ ...facts, reason: reasonOf(error) }, 'its file stays');
  });
  guest.setSaving(undefined);
  if (saving.wasRunning) {
    await guest.resume();
    const reason = saving.goesOn === true ? 'unpaused' : 'save canceled';
    guest.setState({ state: 'running', reason }, Date.now() / 1000);
  } else if (saving.goesOn === true) {
    await guest.takeDisksBack();
    guest.setState({ state: 'paused', reason: 'user' }, Date.now() / 1000);
  }
}

/** How often, and how long apart, QEMU is asked whether it has stopped writing. */
const LOOKS = 200;
const LOOK_MS = 50;

async function cancel(qmp: QmpClient): Promise<void> {
  await qmp.execute('migrate_cancel');
  for (let look = 0; look < LOOKS; look++) {
    const { status } = await qmp.execute('query-migrate');
    // `completed` may have come first: then QEMU takes its disks back when it is resumed.
    if (status === undefined || ['cancelled', 'completed', 'failed', 'none'].includes(status)) return;
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}
