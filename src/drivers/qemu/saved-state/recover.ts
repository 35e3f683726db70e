/** A save or dump that nobody waits for any more, most often after a restart of the daemon: it is settled. */
import { unlink } from 'node:fs/promises';
import { errnoOf, reasonOf } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { SavingRecord } from '../../driver.ts';
import { isSaveWhole } from '../../saved-file.ts';
import type { QemuGuest } from '../guest.ts';
import type { QmpClient } from '../qmp/client.ts';
import { forgetSparse } from './sparse.ts';

/** A QEMU that is held by a signal answers when it goes on, and its end is told. */
const PATIENT = { timeoutMs: 24 * 3600 * 1000 } as const;

/**
 * Settles a save that was begun. A file gets its own name as the last step, so where that is the file of the save the
 * state is whole and the guest has to end (`saved` is told). Else the save is called off, its file removed, and the guest
 * runs again if it did before. After a snapshot or a dump it goes on in any case, and as it was; whether there is a
 * snapshot is decided by whoever makes them. A dump cannot be called off: then this ends before the guest goes on.
 */
export async function recoverSave(guest: QemuGuest, qmp: QmpClient, log: Logger): Promise<void> {
  const { saving } = guest.record;
  if (saving === undefined) return;
  const facts = { domain: guest.definition.name, path: saving.path };
  if (saving.goesOn !== true && (await isSaveWhole(saving))) {
    log.warn(facts, 'a save was complete when it was cut off; the guest is ended now');
    guest.replay({ kind: 'saved', seconds: Date.now() / 1000 });
    return;
  }
  log.warn(facts, 'a save was cut off; it is called off');
  const { status } = await qmp.execute('query-dump', undefined, PATIENT);
  if (status === 'active') {
    untilDumped(qmp)
      .then(() => takeBack(guest, saving, log))
      .catch((error: unknown) =>
        log.error({ err: error, ...facts }, 'a guest does not go on after its dump'),
      );
    return;
  }
  await cancel(qmp);
  await forgetSparse(qmp);
  await takeBack(guest, saving, log);
}

/** Removes the file, and has the guest go on as it was. */
async function takeBack(guest: QemuGuest, saving: SavingRecord, log: Logger): Promise<void> {
  await unlink(saving.temporary).catch((error: unknown) => {
    const facts = { domain: guest.definition.name, path: saving.path };
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

/** QEMU has no way to call a dump off, and runs nothing while it writes one. */
async function untilDumped(qmp: QmpClient): Promise<void> {
  while ((await qmp.execute('query-dump', undefined, PATIENT)).status === 'active')
    await new Promise((done) => setTimeout(done, LOOK_MS));
}
