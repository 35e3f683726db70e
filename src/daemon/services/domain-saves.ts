/**
 * Saved states: a guest's memory and devices in a file with its definition, and guests that go on from one. While the
 * file is written the guest stands still; it ends when the file is whole and on the disk, and goes on when it is not.
 */
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { ensureDirectory } from '../../base/files.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { formatDomain, parseDomain } from '../../model/domain/domain.ts';
import type { SavedHead, SaveFormat } from '../../model/saved-state/image.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import type { Domain, LiveDomain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import { saveStatus } from './domain-status.ts';
import { noteMemory, type TransferNotes } from './domain-transfers.ts';
import { definitionFor, filteredDefinition, savedText } from './saved-definition.ts';
import { copyState, openForLoading, readHead, replaceHead } from './saved-state-files.ts';
import { createState, type StateWriter } from './saved-state-writing.ts';
import { type DomainWorld, runJob } from './world.ts';

/** Whether the virtual CPUs run after a restore; left out: as they did when it was saved. */
export type RunState = 'running' | 'paused';

export interface SaveRequest {
  /** Left out: as configured. */
  readonly format?: SaveFormat | undefined;
  readonly bypassCache?: boolean;
  /** How many threads of QEMU write; only for a sparse state. */
  readonly channels?: number | undefined;
  readonly state?: RunState | undefined;
  /** A definition in place of the one it runs with; the guest must not see a difference. */
  readonly xml?: string | undefined;
}

export interface RestoreRequest {
  readonly bypassCache?: boolean;
  /** How many threads of QEMU read; only for a sparse state. */
  readonly channels?: number | undefined;
  readonly state?: RunState | undefined;
  readonly xml?: string | undefined;
}

export class DomainSaves {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly lifecycle: DomainLifecycle;
  private readonly notes: TransferNotes;

  constructor(
    world: DomainWorld,
    parts: {
      readonly definitions: DomainDefinitions;
      readonly lifecycle: DomainLifecycle;
      readonly notes: TransferNotes;
    },
  ) {
    this.world = world;
    this.definitions = parts.definitions;
    this.lifecycle = parts.lifecycle;
    this.notes = parts.notes;
  }

  hasManagedSave(domain: Domain): boolean {
    return this.world.managedSaves.has(domain);
  }

  /**
   * Saves a running guest to a file, and ends it. A file that is there is replaced when the new one is whole.
   * @throws VirtError domain.inactive, domain.state, domain.busy, file.*, program.missing, qemu.lacks, request.invalid,
   *   operation.aborted
   */
  async save(domain: Domain, path: string, request: SaveRequest): Promise<void> {
    checkPath(path);
    await this.saveTo(domain, path, request);
  }

  /** Saves a running guest where the daemon keeps it: its next start goes on from there. @throws VirtError domain.transient */
  async managedSave(domain: Domain, request: SaveRequest): Promise<void> {
    domain.requireLive('save');
    if (!domain.isPersistent)
      throw new VirtError('domain.transient', {
        wanted: `save domain '${domain.name}'`,
        reason: 'the daemon keeps no state of a transient domain',
        hint: `save it to a file: 'vireo domain save ${domain.name} FILE'`,
      });
    await this.saveTo(domain, this.world.managedSaves.pathOf(domain), request, () =>
      this.world.managedSaves.note(domain),
    );
  }

  private async saveTo(
    domain: Domain,
    path: string,
    request: SaveRequest,
    onWhole?: () => void,
  ): Promise<void> {
    domain.requireLive('save');
    await runJob(
      this.world,
      domain,
      'save',
      async (job) => {
        const live = domain.requireLive('save');
        refuseBlockJobs(domain, 'save');
        const wasRunning = domain.state.state === 'running';
        const head: SavedHead = {
          xml: savedText(live.guest, request.xml),
          wasRunning: request.state === undefined ? wasRunning : request.state === 'running',
          format: request.format ?? this.world.saveFormat,
        };
        const { bypassCache = false, channels } = request;
        if (head.format === 'sparse') await live.guest.memory.requireSparse();
        const writer = await createState(path, head, { bypassCache, channels });
        await this.write(domain, live, { path, writer, wasRunning, job });
        onWhole?.();
        await this.lifecycle.endAs(domain, live, 'saved');
      },
      { isCancellable: true, unit: 'bytes' },
    );
  }

  /** From the stopped guest to the whole file; on failure the guest is as it was and the file is gone. */
  private async write(
    domain: Domain,
    live: LiveDomain,
    what: {
      readonly path: string;
      readonly writer: StateWriter;
      readonly wasRunning: boolean;
      readonly job: RunningJob;
    },
  ): Promise<void> {
    const { path, writer, wasRunning, job } = what;
    const { guest } = live;
    job.signal.addEventListener('abort', () => writer.interrupt(), { once: true });
    try {
      // The intent first: a daemon that finds it knows what to take back.
      guest.setSaving({ temporary: writer.temporary, inode: writer.inode, path, wasRunning });
      await saveStatus(this.world, domain);
      if (wasRunning) await guest.suspend('saving');
      await this.notes.run(domain, 'save', async (note) => {
        await guest.memory
          .save(writer.fd, {
            signal: job.signal,
            onProgress: noteMemory(note, job),
            sparse: writer.sparse,
          })
          .then(note);
        job.progress({ step: 'writing to the disk' });
        await writer.finish();
      });
    } catch (error) {
      await writer.discard();
      if (isVirtError(error, 'qmp.timeout') && domain.live === live) guest.settleSaving();
      else await this.goOn(domain, live, wasRunning);
      throw error;
    }
  }

  /** A guest whose save came to nothing runs again, if it did. Its own failure is logged: the first error counts. */
  private async goOn(domain: Domain, live: LiveDomain, wasRunning: boolean): Promise<void> {
    if (domain.live !== live) return;
    live.guest.setSaving(undefined);
    try {
      if (wasRunning) await this.lifecycle.goOn(domain, live, 'save canceled');
      else await saveStatus(this.world, domain);
    } catch (error) {
      this.world.log.error(
        { err: error, domain: domain.name },
        'a guest could not go on after a failed save',
      );
    }
  }

  /**
   * Starts a guest from a file. The domain is the stored one of that uuid, with the definition from the file as long as
   * it runs, or a transient one.
   * @throws VirtError saved-state.invalid, domain.exists, domain.active, file.*, and as a start
   */
  async restore(path: string, request: RestoreRequest): Promise<Domain> {
    checkPath(path);
    const { bypassCache = false, channels } = request;
    const state = await openForLoading(path, { bypassCache, channels });
    try {
      const definition = await filteredDefinition(this.world.hooks, state.head, request.xml);
      return await this.lifecycle.createFrom(definition, {
        fd: state.fd,
        sparse: state.sparse,
        wasRunning: wantsRun(request.state, state.head.wasRunning),
      });
    } finally {
      await state.close();
    }
  }

  /** Gives a kept state up. @throws VirtError saved-state.not-found, file.* */
  async removeManagedSave(domain: Domain): Promise<void> {
    await runJob(this.world, domain, 'remove saved state', async () => {
      this.world.managedSaves.require(domain);
      await this.world.managedSaves.remove(domain);
    });
  }

  /**
   * Takes a copy of a file in libvirt's format as the kept state of a domain that has none.
   * @throws VirtError saved-state.exists, saved-state.invalid for one of another domain, file.*
   */
  async takeOver(domain: Domain, file: FileHandle): Promise<void> {
    await runJob(this.world, domain, 'take over a saved state', async () => {
      this.world.managedSaves.refuse(domain, 'take over a saved state of');
      const path = this.world.managedSaves.pathOf(domain);
      await ensureDirectory(dirname(path), 0o700);
      await copyState(file, path, async (copy) => {
        const { definition } = parseDomain((await readHead(copy)).xml, { mode: 'lenient' });
        if (definition.uuid === domain.uuid) return;
        throw new VirtError('saved-state.invalid', { reason: `it is of domain '${definition.name}'` });
      });
      this.world.managedSaves.note(domain);
    });
  }

  /** What a file says: its definition, and more. @throws VirtError saved-state.invalid, file.* */
  async describe(path: string, { secure }: { readonly secure: boolean }) {
    checkPath(path);
    const head = await readHead(path);
    const { definition } = parseDomain(head.xml, { mode: 'lenient' });
    return {
      xml: formatDomain(definition, { inactive: true, secure }),
      name: definition.name,
      uuid: definition.uuid ?? '',
      state: head.wasRunning ? ('running' as const) : ('paused' as const),
      format: head.format,
    };
  }

  /** The same of a kept state. @throws VirtError saved-state.not-found */
  describeManaged(domain: Domain, options: { readonly secure: boolean }) {
    return this.describe(this.world.managedSaves.require(domain), options);
  }

  /**
   * Replaces the definition in a file, or whether its guest is to run; the guest must not see a difference.
   * @throws VirtError definition.unsupported naming what the guest would see, request.too-large, saved-state.invalid
   */
  async edit(
    path: string,
    change: { readonly xml?: string | undefined; readonly state?: RunState | undefined },
  ): Promise<void> {
    checkPath(path);
    await replaceHead(path, (head) => {
      const definition = definitionFor(head, change.xml);
      const xml =
        change.xml === undefined ? head.xml : formatDomain(definition, { inactive: true, secure: true });
      return { ...head, xml, wasRunning: wantsRun(change.state, head.wasRunning) };
    });
  }

  /** The same with a kept state. @throws VirtError saved-state.not-found */
  async editManaged(
    domain: Domain,
    change: { readonly xml?: string | undefined; readonly state?: RunState | undefined },
  ): Promise<void> {
    await runJob(this.world, domain, 'change saved state', () =>
      this.edit(this.world.managedSaves.require(domain), change),
    );
  }
}

function wantsRun(wanted: RunState | undefined, wasRunning: boolean): boolean {
  return wanted === undefined ? wasRunning : wanted === 'running';
}

function checkPath(path: string): void {
  if (path.startsWith('/') && !path.includes('\0')) return;
  throw new VirtError('request.invalid', {
    wanted: 'use a saved state',
    reason: `'${path}' is no absolute path`,
  });
}
