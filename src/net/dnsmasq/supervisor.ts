/** Keeps one dnsmasq a network running: files in place, restarts with back-off, lease changes told. */
import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { isVirtError, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, levelsOf, readText, statIfPresent } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { allSettledOrThrow } from '../../base/settled.ts';
import { isSameProcess } from '../../base/spawn.ts';
import type { Lease, NetworkPlan } from '../plan.ts';
import {
  buildDnsmasqConfig,
  buildHostsFile,
  buildNamesFile,
  type DnsmasqFiles,
  needsDnsmasq,
} from './config.ts';
import { formatDnsmasq } from './config-file.ts';
import { dnsmasqFiles, removeFile, writeIfChanged } from './files.ts';
import {
  describeEnd,
  endDnsmasq,
  findDnsmasq,
  isOpenToAll,
  launchDnsmasq,
  type RunningDnsmasq,
  rereadHosts,
} from './launch.ts';
import {
  formatGuestMacs,
  formatLeaseStatus,
  MAX_LEASE_FILE_BYTES,
  parseLeases,
  validLeases,
} from './leases.ts';

export interface SupervisorOptions {
  /** DIR/var/lib/libvirt/dnsmasq. */
  readonly directory: string;
  /** For the pid files; only root may write here. */
  readonly runtimeDirectory: string;
  readonly user: string;
  readonly log: Logger;
  readonly onLeases: (plan: NetworkPlan) => void;
  readonly onRestart: (plan: NetworkPlan, reason: string) => void;
}

interface Served {
  plan: NetworkPlan;
  child: RunningDnsmasq | undefined;
  /** When the last start was, and how often in a row it has died soon after one. */
  startedAt: number;
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

/** How long dnsmasq takes to write its lease file, generously. */
const LEASES_SETTLE_MS = 50;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 60_000;
/** One that ran this long has recovered: its next death counts as the first. */
const HEALTHY_AFTER_MS = 60_000;

export class DnsmasqSupervisor {
  private readonly options: SupervisorOptions;
  private readonly served = new Map<string, Served>();
  private watcher: FSWatcher | undefined;
  private readonly pendingLeases = new Map<string, NodeJS.Timeout>();
  /** Status files being written: a stop waits for them, or they would be there again after it. */
  private readonly publishing = new Map<string, Promise<void>>();

  constructor(options: SupervisorOptions) {
    this.options = options;
  }

  private files(plan: NetworkPlan): DnsmasqFiles {
    return dnsmasqFiles(plan, this.options.directory, this.options.runtimeDirectory);
  }

  /**
   * Brings the network's server to the plan: adopts one that runs on the same configuration, has it re-read what it
   * can re-read, restarts it for the rest, or starts it.
   * @throws VirtError program.*, file.*, definition.unsupported
   */
  async apply(plan: NetworkPlan): Promise<void> {
    const before = this.served.get(plan.uuid)?.plan ?? plan;
    if (!needsDnsmasq(plan)) return this.stop(before);
    if (this.files(before).config !== this.files(plan).config) await this.stop(before);
    await this.serve(plan, await this.writeFiles(plan));
  }

  private async serve(plan: NetworkPlan, changed: { config: boolean; hosts: boolean }): Promise<void> {
    const running = this.runningOf(plan);
    const entry = this.entry(plan);
    entry.plan = plan;
    this.watchLeases();
    if (running && !changed.config) {
      entry.child = running;
      if (changed.hosts) rereadHosts(running);
    } else {
      this.forgetTimer(entry);
      entry.child = undefined; // so that its end counts as wanted
      if (running) await endDnsmasq(running);
      await this.launch(entry);
    }
    await this.publishLeases(plan);
  }

  private runningOf(plan: NetworkPlan): RunningDnsmasq | undefined {
    const child = this.served.get(plan.uuid)?.child;
    return child && isSameProcess(child) ? child : findDnsmasq(this.files(plan));
  }

  private entry(plan: NetworkPlan): Served {
    const found = this.served.get(plan.uuid);
    if (found) return found;
    const made: Served = { plan, child: undefined, startedAt: 0, failures: 0, timer: undefined };
    this.served.set(plan.uuid, made);
    return made;
  }

  private async writeFiles(plan: NetworkPlan): Promise<{ config: boolean; hosts: boolean }> {
    const { directory, runtimeDirectory, user } = this.options;
    // The mode of a directory that exists is its owner's business.
    if ((await statIfPresent(directory)) === undefined)
      for (const level of levelsOf(directory)) await ensureDirectory(level, 0o755);
    await ensureDirectory(runtimeDirectory, 0o700);
    const files = { ...this.files(plan), isShared: await isOpenToAll(directory) };
    const lines = buildDnsmasqConfig(plan, files, user);
    const [config = false, hosts = false, names = false] = await allSettledOrThrow([
      writeIfChanged(files.config, formatDnsmasq(lines, plan.dnsmasqOptions), 0o600),
      // The unprivileged process reads these two by itself, at start and at each SIGHUP.
      writeIfChanged(files.hosts, buildHostsFile(plan), 0o644),
      writeIfChanged(files.names, buildNamesFile(plan), 0o644),
      writeIfChanged(this.macsFile(plan), formatGuestMacs(plan.guests), 0o644),
    ]);
    return { config, hosts: hosts || names };
  }

  private async launch(entry: Served): Promise<void> {
    const child = await launchDnsmasq(this.files(entry.plan));
    if (this.served.get(entry.plan.uuid) !== entry) {
      // The network was stopped in the meantime.
      await endDnsmasq(child);
      return;
    }
    entry.child = child;
    entry.startedAt = performance.now();
    void child.ended?.then((status) => this.onEnd(entry, child, describeEnd(status)));
  }

  /** Looks after the servers that an earlier daemon started: their end sends us no signal. */
  look(): void {
    for (const entry of this.served.values()) {
      const { child } = entry;
      if (child && child.ended === undefined && !isSameProcess(child)) this.onEnd(entry, child, 'is gone');
    }
  }

  private onEnd(entry: Served, child: RunningDnsmasq, how: string): void {
    // Another has taken its place, or its end was wanted.
    if (entry.child !== child || this.served.get(entry.plan.uuid) !== entry) return;
    entry.child = undefined;
    if (performance.now() - entry.startedAt > HEALTHY_AFTER_MS) entry.failures = 0;
    this.restartLater(entry, `dnsmasq ${how}`);
  }

  private restartLater(entry: Served, reason: string): void {
    const delayMs = Math.min(FIRST_DELAY_MS * 4 ** entry.failures, LONGEST_DELAY_MS);
    entry.failures++;
    this.options.log.warn({ network: entry.plan.name, reason, delayMs }, 'dnsmasq will be started again');
    entry.timer = setTimeout(() => {
      entry.timer = undefined;
      this.launch(entry).then(
        () => this.options.onRestart(entry.plan, reason),
        (error: unknown) => this.restartLater(entry, reasonOf(error)),
      );
    }, delayMs);
    entry.timer.unref();
  }

  /** Keeps trying to start a server whose start has just failed; one that still runs as before goes on. */
  retry(plan: NetworkPlan, reason: string): void {
    const running = this.runningOf(plan);
    const entry = this.entry(plan);
    entry.child ??= running;
    if (running === undefined && entry.timer === undefined) this.restartLater(entry, reason);
  }

  private forgetTimer(entry: Served): void {
    clearTimeout(entry.timer);
    entry.timer = undefined;
    entry.failures = 0;
  }

  /** Ends the server and removes its files; leases stay, so that guests get their old addresses again. Idempotent. */
  async stop(plan: NetworkPlan): Promise<void> {
    const running = this.runningOf(plan);
    const entry = this.served.get(plan.uuid);
    if (entry) this.forgetTimer(entry);
    this.served.delete(plan.uuid);
    clearTimeout(this.pendingLeases.get(plan.uuid));
    this.pendingLeases.delete(plan.uuid);
    if (running) await endDnsmasq(running);
    await this.publishing.get(plan.uuid);
    const files = this.files(plan);
    const published = [this.statusFile(plan), this.macsFile(plan)];
    for (const path of [files.config, files.hosts, files.names, files.pid, ...published])
      await removeFile(path);
    if ((await this.leases(plan)).length === 0) await removeFile(files.leases);
    if (this.served.size === 0) this.closeWatcher();
  }

  /** Removes what outlives a stop: for a network that is undefined. */
  async forget(plan: NetworkPlan): Promise<void> {
    await removeFile(this.files(plan).leases);
  }

  /** The leases that are valid now. @throws VirtError file.* */
  async leases(plan: NetworkPlan): Promise<Lease[]> {
    const { leases } = await this.readLeases(plan);
    return validLeases(leases, Date.now());
  }

  private async readLeases(plan: NetworkPlan): Promise<ReturnType<typeof parseLeases>> {
    try {
      return parseLeases(await readText(this.files(plan).leases, MAX_LEASE_FILE_BYTES), plan);
    } catch (error) {
      // Before the first lease there is no file.
      if (isVirtError(error, 'file.not-found')) return { leases: [], serverDuid: undefined };
      throw error;
    }
  }

  private statusFile(plan: NetworkPlan): string {
    return join(this.options.directory, `${plan.bridge.name}.status`);
  }

  private macsFile(plan: NetworkPlan): string {
    return join(this.options.directory, `${plan.bridge.name}.macs`);
  }

  private async publishLeases(plan: NetworkPlan): Promise<void> {
    const work = (this.publishing.get(plan.uuid) ?? Promise.resolve()).then(() => this.publishNow(plan));
    // Whoever waits for the next one is not to fail of this one.
    const settled = work.catch(() => undefined);
    this.publishing.set(plan.uuid, settled);
    try {
      await work;
    } finally {
      if (this.publishing.get(plan.uuid) === settled) this.publishing.delete(plan.uuid);
    }
  }

  private async publishNow(plan: NetworkPlan): Promise<void> {
    if (!this.served.has(plan.uuid)) return;
    await writeIfChanged(this.statusFile(plan), formatLeaseStatus(await this.readLeases(plan)), 0o644);
  }

  private watchLeases(): void {
    this.watcher ??= watch(this.options.directory, { persistent: false }, (_event, name) => {
      for (const { plan } of this.served.values())
        if (name !== null && this.files(plan).leases.endsWith(`/${name}`)) this.leasesChanged(plan);
    });
  }

  /**
   * dnsmasq writes the file in several pieces, so a change is told a moment later, with what came meanwhile. Later
   * changes don't put that moment off: a busy network would never be told of.
   */
  private leasesChanged(plan: NetworkPlan): void {
    if (this.pendingLeases.has(plan.uuid)) return;
    const tell = async () => {
      this.pendingLeases.delete(plan.uuid);
      await this.publishLeases(plan);
      this.options.onLeases(plan);
    };
    const timer = setTimeout(() => {
      tell().catch((error: unknown) =>
        this.options.log.error({ err: error, network: plan.name }, 'the leases could not be read'),
      );
    }, LEASES_SETTLE_MS);
    this.pendingLeases.set(plan.uuid, timer);
  }

  private closeWatcher(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }

  /** Stops watching and restarting; the servers go on. */
  detach(): void {
    for (const entry of this.served.values()) this.forgetTimer(entry);
    for (const timer of this.pendingLeases.values()) clearTimeout(timer);
    this.pendingLeases.clear();
    this.served.clear();
    this.closeWatcher();
  }
}
