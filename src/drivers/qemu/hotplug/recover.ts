/** After a restart of the daemon: a device that was being plugged in, and those that the guest let go of meanwhile. */
import {
  addDevice,
  aliasOfDevice,
  allDevices,
  type OneDevice,
  parseDevices,
} from '../../../model/domain/device-list.ts';
import type { QemuGuest } from '../guest.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { StartDeps } from '../starting.ts';
import { withPresentCpus } from '../tuning/start-cpus.ts';
import { withoutIntent } from './attach.ts';
import { finishRemoval, planOf } from './detach.ts';
import { removeBackends } from './perform.ts';
import { peripherals } from './peripherals.ts';
import { isPluggable } from './refused.ts';

/** Brings the running definition in line with what QEMU has. Removed devices are told. */
export async function recoverDevices(deps: StartDeps, guest: QemuGuest, qmp: QmpClient): Promise<void> {
  const present = await peripherals(qmp);
  const { vcpu, vcpus } = guest.definition;
  if (vcpus.length > 0 || vcpu.current !== undefined)
    guest.setDefinition(await withPresentCpus(guest.definition, qmp));
  const { plugging } = guest.record;
  if (plugging !== undefined) await settlePlugging(deps, guest, plugging, present);
  const gone = allDevices(guest.definition.devices).filter((one) => {
    const alias = aliasOfDevice(one);
    return alias !== undefined && isPluggable(one) && !present.has(alias);
  });
  for (const one of gone) {
    const alias = aliasOfDevice(one) ?? '';
    await finishRemoval(deps, guest, alias);
    guest.replay({ kind: 'device-deleted', seconds: Date.now() / 1000, alias });
  }
}

/** A device that QEMU has, the guest may be using: it stays. Of one that it has not, nothing stays. */
async function settlePlugging(
  deps: StartDeps,
  guest: QemuGuest,
  plugging: string,
  present: ReadonlySet<string>,
): Promise<void> {
  for (const one of parseDevices(plugging)) await settleOne(deps, guest, one, present);
  guest.setRecord(withoutIntent(guest.record));
}

async function settleOne(
  deps: StartDeps,
  guest: QemuGuest,
  one: OneDevice,
  present: ReadonlySet<string>,
): Promise<void> {
  const alias = aliasOfDevice(one) ?? '';
  const { definition } = guest;
  // The status was written after all.
  if (allDevices(definition.devices).some((other) => aliasOfDevice(other) === alias)) return;
  if (present.has(alias)) {
    guest.setDefinition(addDevice(definition, one));
    deps.options.logger.info({ domain: definition.name, alias }, 'a device that was being attached is there');
    return;
  }
  const plan = await planOf(deps, guest, one);
  await removeBackends(guest.monitorClient(), plan, { alias, sets: guest.sets, log: deps.options.logger });
  deps.options.logger.info({ domain: definition.name, alias }, 'took back a device that was being attached');
}
