/** Dumps: a guest's memory in a file for a debugger, while it stands still or (as far as QEMU can) runs on. */
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { DumpFormat } from '../../drivers/live-memory.ts';
import type { Domain, LiveDomain } from './domain.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import { saveStatus } from './domain-status.ts';
import { noteMemory, type TransferNotes } from './domain-transfers.ts';
import { createPlain, type StateWriter } from './saved-state-writing.ts';
import { type DomainWorld, runJob } from './world.ts';

export interface DumpRequest {
  /** `state`: devices too, as QEMU writes them for a migration, for tools that know that. */
  readonly format: DumpFormat | 'state';
  /** Do not stop the guest beforehand. QEMU itself stops it while it writes an ELF or kdump file. */
  readonly live?: boolean;
  /** What becomes of the guest afterwards; left out: it goes on as it was. */
  readonly afterwards?: 'destroy' | 'reset' | undefined;
  readonly bypassCache?: boolean;
}

export class DomainDumps {
  private readonly world: DomainWorld;
  private readonly lifecycle: DomainLifecycle;
  private readonly notes: TransferNotes;

  constructor(
    world: DomainWorld,
    parts: { readonly lifecycle: DomainLifecycle; readonly notes: TransferNotes },
  ) {
    this.world = world;
    this.lifecycle = parts.lifecycle;
    this.notes = parts.notes;
  }

  /**
   * Writes a guest's memory to a file, which is there only when it is whole.
   * @throws VirtError domain.inactive, domain.busy, request.invalid, qemu.lacks, file.*, operation.aborted
   */
  async dump(domain: Domain, path: string, request: DumpRequest): Promise<void> {
    checkRequest(path, request);
    domain.requireLive('dump');
    const isCancellable = request.format === 'state'; // QEMU has no way back from the others
    await runJob(this.world, domain, 'dump', (job) => this.write(domain, path, request, job), {
      isCancellable,
      unit: 'bytes',
    });
  }

  private async write(domain: Domain, path: string, request: DumpRequest, job: RunningJob): Promise<void> {
    const live = domain.requireLive('dump');
    const { guest } = live;
    const wasRunning = domain.state.state === 'running';
    const writer = await createPlain(path, { bypassCache: request.bypassCache ?? false });
    job.signal.addEventListener('abort', () => writer.interrupt(), { once: true });
    try {
      // The intent first: a daemon that finds it has the guest go on.
      guest.setSaving({ temporary: writer.temporary, inode: writer.inode, path, wasRunning, goesOn: true });
      await saveStatus(this.world, domain);
      if (wasRunning && request.live !== true) await guest.suspend('dumping');
      await this.transfer(domain, live, writer, request, job);
    } catch (error) {
      await writer.discard();
      if (isVirtError(error, 'qmp.timeout') && domain.live === live) guest.settleSaving();
      else await this.goOn(domain, live, { wasRunning, isReset: false });
      throw error;
    }
    if (request.afterwards === 'destroy') await this.lifecycle.endAs(domain, live, 'crashed');
    else await this.goOn(domain, live, { wasRunning, isReset: request.afterwards === 'reset' });
  }

  private async transfer(
    domain: Domain,
    { guest }: LiveDomain,
    writer: StateWriter,
    { format }: DumpRequest,
    job: RunningJob,
  ): Promise<void> {
    await this.notes.run(domain, 'dump', async (note) => {
      const onProgress = noteMemory(note, job);
      if (format === 'state')
        onProgress(await guest.memory.save(writer.fd, { signal: job.signal, onProgress }));
      else await guest.memory.dump(writer.fd, format, { onProgress });
      job.progress({ step: 'writing to the disk' });
      await writer.finish();
    });
  }

  private async goOn(
    domain: Domain,
    live: LiveDomain,
    { wasRunning, isReset }: { readonly wasRunning: boolean; readonly isReset: boolean },
  ): Promise<void> {
    if (domain.live !== live) return;
    live.guest.setSaving(undefined);
    if (isReset) await live.guest.reset();
    // Also a guest that ran all the time: after a migration into a file QEMU stands still.
    if (wasRunning) await this.lifecycle.goOn(domain, live, 'unpaused');
    else await saveStatus(this.world, domain);
  }
}

function checkRequest(path: string, { format, bypassCache }: DumpRequest): void {
  const wanted = 'dump a domain';
  if (!path.startsWith('/') || path.includes('\0'))
    throw new VirtError('request.invalid', { wanted, reason: `'${path}' is no absolute path` });
  if (format.startsWith('kdump') && bypassCache === true)
    throw new VirtError('request.invalid', {
      wanted,
      reason: `${format} is written in no order, which cannot bypass the page cache`,
    });
}
