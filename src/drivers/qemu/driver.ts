/** The QEMU driver: what the daemon asks of a hypervisor, put together from the parts in this folder. */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { errnoOf, fileError, isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { isSameProcess } from '../../base/spawn.ts';
import type { Device, OneDevice } from '../../model/domain/device-list.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { BlockJobRecord, BlockJobRequest } from '../driver/block-jobs.ts';
import type {
  GuestRecord,
  HypervisorDriver,
  InternalSnapshot,
  LiveGuest,
  NewOverlay,
  StartOptions,
  StrayGuest,
} from '../driver.ts';
import { removeBackupFiles } from './backups/backup.ts';
import { removeCheckpoint } from './backups/remove.ts';
import { startBlockJob } from './block-jobs/start.ts';
import { PortPool } from './graphics-ports.ts';
import { QemuGuest } from './guest.ts';
import { endHelper } from './helpers.ts';
import { attachDevice } from './hotplug/attach.ts';
import { detachDevice } from './hotplug/detach.ts';
import { whyNot } from './hotplug/refused.ts';
import { updateDevice } from './hotplug/update.ts';
import { UidPool } from './identity.ts';
import { checkSev } from './launch-security.ts';
import { requireGroups } from './limits.ts';
import { readTail, removeLogs } from './log-file.ts';
import type { QemuDriverOptions } from './options.ts';
import {
  checkDefinition,
  checkKvm,
  completeDefinition,
  displayCommandLine,
  withoutChosenPaths,
} from './prepare.ts';
import { reattachGuest } from './reattach.ts';
import { deleteSnapshot, hasFailedToLoad, loadSnapshot, saveSnapshot } from './snapshots/internal.ts';
import { addOverlays, adoptOverlays, isSwitched } from './snapshots/overlays.ts';
import { isSameMachine } from './snapshots/same-machine.ts';
import { startGuest } from './start.ts';
import { qemuLogPath, removeSocket, type StartDeps } from './starting.ts';
import { endStray, findStrays, recordOfStray } from './strays.ts';

/** Starts with a display port that we choose are tried so often when another program takes it before QEMU does. */
const PORT_ATTEMPTS = 4;

/** True when QEMU found the port taken that was free a moment before: another try chooses another. */
function lostItsPort(error: unknown, { devices }: DomainDef): boolean {
  if (!isVirtError(error, 'domain.start-failed')) return false;
  if (!devices.graphics.some((graphics) => 'autoport' in graphics && graphics.autoport)) return false;
  const said = error.details?.['stderr'];
  return (
    typeof said === 'string' && /address already in use|failed to (bind|initialize spice server)/i.test(said)
  );
}

export class QemuDriver implements HypervisorDriver {
  private readonly options: QemuDriverOptions;
  private readonly deps: StartDeps;

  constructor(options: QemuDriverOptions) {
    this.options = options;
    this.deps = {
      options,
      uids: new UidPool({ range: options.uidRange, ownedDirectory: options.tpmDirectory }),
      ports: new PortPool(options.graphicsPorts),
    };
  }

  complete(definition: DomainDef, previous?: DomainDef): Promise<DomainDef> {
    return completeDefinition(this.options, definition, previous);
  }

  async check(definition: DomainDef): Promise<void> {
    requireGroups(definition, this.options.groups);
    return checkDefinition(this.options, definition);
  }

  /** Completes and checks in one. @throws VirtError as the two do */
  async prepare(definition: DomainDef, previous?: DomainDef): Promise<DomainDef> {
    const complete = await this.complete(definition, previous);
    await this.check(complete);
    return complete;
  }

  commandLine(definition: DomainDef): Promise<readonly string[]> {
    return displayCommandLine(this.options, definition);
  }

  async start(given: DomainDef, domainId: number, options: StartOptions): Promise<LiveGuest> {
    const definition = withoutChosenPaths(this.options, given);
    if (definition.type === 'kvm') await checkKvm(this.options, definition);
    checkSev(this.options, definition);
    for (let attempt = 1; ; attempt++) {
      try {
        return await startGuest(this.deps, definition, domainId, options);
      } catch (error) {
        if (attempt === PORT_ATTEMPTS || !lostItsPort(error, definition)) throw fromErrno(error, definition);
        this.options.logger.info(
          { domain: definition.name },
          'another program took the display port; trying the next',
        );
      }
    }
  }

  whyNotPluggable(device: OneDevice): string | undefined {
    return whyNot(device);
  }

  attachDevice(
    guest: LiveGuest,
    device: OneDevice,
    options: { readonly save: () => Promise<void> },
  ): Promise<string> {
    return attachDevice(this.deps, ours(guest), device, options);
  }

  detachDevice(guest: LiveGuest, device: OneDevice): Promise<'removed' | 'pending'> {
    return detachDevice(this.deps, ours(guest), device);
  }

  updateDevice(
    guest: LiveGuest,
    change: { readonly old: OneDevice; readonly device: Device; readonly force: boolean },
  ): Promise<void> {
    return updateDevice(this.deps, ours(guest), change);
  }

  saveSnapshot(guest: LiveGuest, snapshot: InternalSnapshot): Promise<void> {
    return saveSnapshot(ours(guest), snapshot);
  }

  loadSnapshot(guest: LiveGuest, snapshot: InternalSnapshot): Promise<void> {
    return loadSnapshot(ours(guest), snapshot);
  }

  hasFailedToLoad(guest: LiveGuest): Promise<boolean> {
    return hasFailedToLoad(ours(guest));
  }

  deleteSnapshot(guest: LiveGuest, snapshot: InternalSnapshot): Promise<void> {
    return deleteSnapshot(ours(guest), snapshot);
  }

  addOverlays(guest: LiveGuest, overlays: readonly NewOverlay[]): Promise<void> {
    return addOverlays(this.deps, ours(guest), overlays);
  }

  adoptOverlays(guest: LiveGuest, overlays: readonly NewOverlay[]): void {
    adoptOverlays(ours(guest), overlays);
  }

  isOnNewImages(guest: LiveGuest): Promise<boolean> {
    return isSwitched(ours(guest));
  }

  isSameMachine(running: DomainDef, saved: DomainDef): boolean {
    const own = (definition: DomainDef) => withoutChosenPaths(this.options, definition);
    return isSameMachine(own(running), own(saved));
  }

  startBlockJob(
    guest: LiveGuest,
    request: BlockJobRequest,
    options: { readonly save: () => Promise<void> },
  ): Promise<BlockJobRecord> {
    return startBlockJob(this.deps, ours(guest), request, options);
  }

  removeCheckpoint(guest: LiveGuest, name: string, disks: readonly string[]): Promise<void> {
    return removeCheckpoint(this.deps, ours(guest), name, disks);
  }

  reattach(record: GuestRecord, definition: DomainDef): Promise<LiveGuest | undefined> {
    return reattachGuest(this.deps, record, definition);
  }

  removeLogs(definition: DomainDef): Promise<void> {
    return removeLogs(qemuLogPath(this.options.logDirectory, definition));
  }

  logTail(definition: DomainDef, maxBytes: number): Promise<string> {
    return readTail(qemuLogPath(this.options.logDirectory, definition), maxBytes);
  }

  async consoleLogTail({ devices }: DomainDef, maxBytes: number): Promise<string | undefined> {
    const path = [...devices.serials, ...devices.consoles].find((device) => device.log !== undefined)?.log
      ?.file;
    return path === undefined ? undefined : readTail(path, maxBytes);
  }

  /**
   * Removes what a dead guest left: helpers, links, sockets, its directory; and gives back its uid and ports. Each part
   * is tried whatever becomes of the others; failures are logged. Idempotent.
   */
  async cleanUp(record: GuestRecord, definition: DomainDef): Promise<void> {
    if (isSameProcess(record)) throw new Error(`the guest of process ${record.pid} is alive`);
    const uuid = definition.uuid ?? '';
    for (const helper of record.helpers) await this.attempt(`end ${helper.kind}`, () => endHelper(helper));
    for (const deviceName of Object.values(record.links))
      await this.attempt(`close link ${deviceName}`, () =>
        this.options.links?.close({
          domainUuid: uuid,
          deviceName,
          isKept: record.keptLinks?.includes(deviceName) ?? false,
          ...portOf(definition, deviceName),
        }),
      );
    const { backup } = record;
    if (backup !== undefined)
      await this.attempt('remove files of a backup that was cut off', () => removeBackupFiles(backup));
    for (const path of record.foreignSockets) await this.attempt(`remove ${path}`, () => removeSocket(path));
    await this.attempt('remove control groups', () => this.options.groups?.remove(uuid));
    await this.attempt('give back devices of the host', () => this.options.hostDevices?.release(uuid));
    await this.attempt(`remove ${record.directory}`, () => this.removeDirectory(record.directory));
    if (record.uid !== undefined) this.deps.uids.release(record.uid, uuid);
    this.deps.ports.release(uuid);
  }

  findStrays(known: readonly GuestRecord[]): Promise<StrayGuest[]> {
    return findStrays(join(this.options.runtimeDirectory, 'g'), known);
  }

  endStray(stray: StrayGuest): Promise<void> {
    return endStray(stray);
  }

  recordOf(stray: StrayGuest, definition: DomainDef): Promise<GuestRecord | undefined> {
    return recordOfStray(stray, {
      definition,
      logPath: qemuLogPath(this.options.logDirectory, definition),
      timeoutMs: this.options.timeouts.reattachMs,
    });
  }

  capabilitiesXml(): Promise<string> {
    return this.options.documents.capabilitiesXml();
  }

  domainCapabilitiesXml(query: Parameters<HypervisorDriver['domainCapabilitiesXml']>[0]): Promise<string> {
    return this.options.documents.domainCapabilitiesXml(query);
  }

  private async attempt(what: string, take: () => void | Promise<void>): Promise<void> {
    try {
      await take();
    } catch (error) {
      this.options.logger.warn({ reason: reasonOf(error) }, `clean-up failed: ${what}`);
    }
  }

  /** Records come from files: a path that is not one of our guests' directories is left alone. */
  private async removeDirectory(directory: string): Promise<void> {
    const parent = join(this.options.runtimeDirectory, 'g');
    if (resolve(directory, '..') !== resolve(parent)) throw new Error(`${directory} is not below ${parent}`);
    await rm(directory, { recursive: true, force: true });
  }
}

/** Guests that this driver is asked about are its own. */
function ours(guest: LiveGuest): QemuGuest {
  if (guest instanceof QemuGuest) return guest;
  throw new Error("that guest is another driver's");
}

/** A call that was taken back, a full disk or a missing descriptor at any of the many small steps of a start is the host's condition, not a bug. */
function fromErrno(error: unknown, definition: DomainDef): unknown {
  if (error instanceof Error && error.name === 'AbortError')
    return new VirtError('operation.aborted', { wanted: `start '${definition.name}'`, reason: 'cancelled' });
  if (isVirtError(error) || errnoOf(error) === undefined || !(error instanceof Error)) return error;
  const path = 'path' in error && typeof error.path === 'string' ? error.path : "the guest's files";
  return fileError(error, `start '${definition.name}'`, path);
}

/** The running interface that had that device of the host. */
function portOf({ name, devices }: DomainDef, deviceName: string) {
  const definition = devices.interfaces.find(({ target }) => target?.dev === deviceName);
  return definition && { port: { domainName: name, definition } };
}
