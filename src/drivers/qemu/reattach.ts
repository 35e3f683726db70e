/** Finding a guest of an earlier daemon again: the same process, the same monitor, and what was missed meanwhile. */
import { readFile } from 'node:fs/promises';
import { errnoOf, isVirtError, reasonOf } from '../../base/errors.ts';
import { isSameProcess } from '../../base/spawn.ts';
import { completeAliases } from '../../model/domain/aliases.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestRecord } from '../driver.ts';
import { QemuGuest } from './guest.ts';
import { missedRtcAdjustment } from './guest-clock.ts';
import { finishRemoval } from './hotplug/detach.ts';
import { recoverDevices } from './hotplug/recover.ts';
import { liveDefinition } from './live-definition.ts';
import { readMemorySizes } from './memory-sizes.ts';
import { GuestProcess } from './process.ts';
import { connectQmp, type QmpClient } from './qmp/client.ts';
import { stateOfRunState } from './run-state.ts';
import { recoverSave } from './saved-state/recover.ts';
import type { StartDeps } from './starting.ts';

/** The longest wait for a monitor that does not answer yet: a day, then it is tried again. */
const PATIENCE_MS = 24 * 3600 * 1000;

/**
 * Takes a running guest over. Returns undefined when that process is gone. A QEMU that does not answer in time (stopped
 * by a signal, or waiting for a disk) is a guest all the same: its state is unknown until it answers.
 */
export async function reattachGuest(
  deps: StartDeps,
  record: GuestRecord,
  definition: DomainDef,
): Promise<QemuGuest | undefined> {
  if (!isSameProcess(record) || !(await isOurs(record, definition))) return undefined;
  const uuid = definition.uuid ?? '';
  if (record.uid !== undefined) deps.uids.claim(record.uid, uuid);
  deps.ports.claim(record.graphicsPorts, uuid);
  const { logger, logLimits, timeouts } = deps.options;
  const guest = new QemuGuest({
    record,
    definition: liveDefinition(completeAliases(definition), {
      ...record,
      links: unnamedLinks(record, definition),
    }),
    process: GuestProcess.adopt(record),
    state: { state: 'paused', reason: 'unknown' },
    log: logger,
    logLimits,
  });
  guest.unplugs.onRemoval((alias) => finishRemoval(deps, guest, alias));
  const attached = attachMonitor(deps, guest);
  const inTime = await Promise.race([attached.then(() => true), later(timeouts.reattachMs)]);
  if (!inTime)
    logger.warn(
      { domain: definition.name, pid: record.pid },
      'QEMU does not answer; the daemon goes on without it',
    );
  return guest;
}

/** Links that the definition does not name itself: places in it change when devices are unplugged. */
function unnamedLinks(record: GuestRecord, { devices }: DomainDef): GuestRecord['links'] {
  const unnamed = Object.entries(record.links).filter(
    ([index]) => devices.interfaces[Number(index)]?.target?.dev === undefined,
  );
  return Object.fromEntries(unnamed);
}

/**
 * The pid and its start time name one process since the last boot. A runtime directory that outlived a reboot is caught
 * by the uuid, which stands on QEMU's command line.
 */
async function isOurs(record: GuestRecord, definition: DomainDef): Promise<boolean> {
  try {
    const words = (await readFile(`/proc/${record.pid}/cmdline`, 'latin1')).split('\0');
    return words[0] === record.qemuPath && words.includes(definition.uuid ?? '');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** Connects, waiting as long as it takes; one connection stays in QEMU's queue until it is taken. Never rejects. */
async function attachMonitor(deps: StartDeps, guest: QemuGuest): Promise<void> {
  const { logger, onMonitorReply } = deps.options;
  const { uuid = '' } = guest.definition;
  const stop = new AbortController();
  guest.onDetach(() => stop.abort());
  for (;;) {
    try {
      const monitor = await connectQmp(guest.record.qmpSocket, {
        timeoutMs: PATIENCE_MS,
        commandMs: deps.options.timeouts.commandMs,
        signal: stop.signal,
        ...(onMonitorReply && { onReply: (reply) => onMonitorReply(uuid, reply) }),
        onProblem: (error) => logger.warn({ err: error }, 'QEMU broke the monitor protocol'),
      });
      await catchUp(deps, guest, monitor).catch((error: unknown) => {
        monitor.close(); // QEMU serves one connection; the next try must not wait behind this one.
        throw error;
      });
      return;
    } catch (error) {
      if (isVirtError(error, 'operation.aborted')) return;
      if (isVirtError(error, 'qmp.timeout')) continue;
      logger.warn(
        { pid: guest.record.pid, reason: reasonOf(error) },
        'the monitor of a guest cannot be opened',
      );
      // Nobody listens any more: QEMU is ending, or has ended.
      guest.lookForEnd();
      return;
    }
  }
}

/** A device's character device has its alias behind this (argv/chardev.ts). */
const chardevPrefix = 'char';

/** Asks for the state, and says what happened while no daemon listened. */
async function catchUp(deps: StartDeps, guest: QemuGuest, monitor: QmpClient): Promise<void> {
  guest.attach(monitor);
  const { status, running } = await monitor.execute('query-status');
  const seconds = Date.now() / 1000;
  guest.setState(stateOfRunState(status, running), seconds);
  for (const { label, 'frontend-open': isOpen } of await monitor.execute('query-chardev'))
    if (label.startsWith(chardevPrefix)) guest.setChannelOpen(label.slice(chardevPrefix.length), isOpen);
  for (const { kind, alias = '', ...process } of guest.record.helpers)
    if (!isSameProcess(process)) guest.replay({ kind: 'helper-ended', seconds, helper: kind, alias });
  await recoverDevices(deps, guest, monitor);
  await readMemorySizes(guest, monitor);
  await recoverSave(guest, monitor, deps.options.logger);
  await goOnLoaded(guest);
  await guest.blockJobs.recover(monitor);
  await guest.backup.recover(monitor);
  const ahead = await missedRtcAdjustment(monitor, guest.definition);
  if (ahead !== undefined) guest.setClock(ahead, seconds);
  if (status === 'shutdown') guest.replay({ kind: 'powered-off', seconds, byGuest: true });
  if (status === 'guest-panicked') guest.replay({ kind: 'panicked', seconds });
}

/** One whose daemon died when its saved state was loaded, before or after it ran: nobody loads that again, so it goes on. */
async function goOnLoaded(guest: QemuGuest): Promise<void> {
  const { loaded, ...record } = guest.record;
  if (loaded === undefined) return;
  guest.setRecord(record);
  const { state } = guest.state;
  if (!loaded.runs || (state !== 'paused' && state !== 'running')) return;
  if (state === 'paused') await guest.resume();
  guest.setState({ state: 'running', reason: 'restored' }, Date.now() / 1000);
}

function later(limitMs: number): Promise<false> {
  return new Promise((resolve) => {
    setTimeout(resolve, limitMs, false).unref();
  });
}
