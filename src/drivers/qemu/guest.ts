/** One running guest: its process, its monitor, what it says and what it can be told. */
import type { Duplex } from 'node:stream';
import { VirtError } from '../../base/errors.ts';
import type { WaitStatus } from '../../base/ffi.ts';
import type { Logger } from '../../base/log.ts';
import type { ProcessId } from '../../base/spawn.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { DomainState } from '../../model/domain/state.ts';
import type {
  AgentInterface,
  GuestEvent,
  GuestExit,
  GuestRecord,
  LiveGuest,
  PauseReason,
  PortForward,
  ReceiveFilter,
  SavingRecord,
  Screenshot,
  StillRecord,
} from '../driver.ts';
import { GuestAgent } from '../guest-agent.ts';
import type { ShutdownMode } from './agent.ts';
import { AgentChannel } from './agent-channel.ts';
import { QemuBackup } from './backups/backup.ts';
import { QemuCheckpoints } from './backups/checkpoints.ts';
import { QemuBlockJobs } from './block-jobs/jobs.ts';
import { ConsoleTable, consoleEnd } from './console.ts';
import { findConsole } from './find-device.ts';
import { exitOf } from './guest-exit.ts';
import { GuestListeners } from './guest-listeners.ts';
import { DescriptorSets } from './hotplug/descriptor-sets.ts';
import { Unplugs } from './hotplug/unplugs.ts';
import { QemuLaunchSecurity } from './launch-security.ts';
import { LogKeeper, type LogLimits } from './log-file.ts';
import { addGraphicsClient, openGraphics } from './open-graphics.ts';
import { addForward, removeForward } from './port-forward.ts';
import type { GuestProcess } from './process.ts';
import type { QmpClient } from './qmp/client.ts';
import { receiveFilterOf } from './receive-filter.ts';
import { applyEvent, type MonitorEvent, type RunMemory } from './run-state.ts';
import { RunningDefinition } from './running-definition.ts';
import { QemuMemory } from './saved-state/memory.ts';
import { recoverSave } from './saved-state/recover.ts';
import { ScreenCamera } from './screenshot.ts';
import { sendKeys } from './send-keys.ts';
import { QemuTuning } from './tuning/tuning.ts';
import { parseUserNetwork } from './user-network.ts';

interface GuestParts {
  readonly record: GuestRecord;
  readonly definition: DomainDef;
  readonly process: GuestProcess;
  readonly state: DomainState;
  readonly log: Logger;
  readonly logLimits: LogLimits;
}

/** A guest whose monitor may come later (`attach`): a QEMU that is stopped by a signal is a guest all the same. */
export class QemuGuest implements LiveGuest {
  readonly exited: Promise<GuestExit>;
  /** Devices that the guest was asked to let go of. */
  readonly unplugs: Unplugs;
  readonly sets = new DescriptorSets();
  private remembered: GuestRecord;
  readonly tuning: QemuTuning;
  readonly memory = new QemuMemory(
    () => this.qmp(),
    () => this.process.id,
  );
  readonly launchSecurity = new QemuLaunchSecurity(
    () => this.qmp(),
    () => this.definition.launchSecurity,
  );
  readonly agent: GuestAgent;
  readonly blockJobs: QemuBlockJobs;
  readonly checkpoints = new QemuCheckpoints(this);
  readonly backup: QemuBackup;
  private readonly process: GuestProcess;
  private readonly log: Logger;
  private readonly consoles = new ConsoleTable();
  private readonly keeper: LogKeeper;
  private readonly channel: AgentChannel;
  private readonly listeners: GuestListeners;
  private readonly monitorListeners = new Set<(event: MonitorEvent) => void>();
  private readonly camera = new ScreenCamera();
  private monitor: QmpClient | undefined;
  private running: RunMemory;
  private readonly live: RunningDefinition;
  private readonly atDetach: (() => void)[] = [];
  private isDetached = false;

  constructor(parts: GuestParts) {
    this.remembered = parts.record;
    this.live = new RunningDefinition(parts.definition, parts.record.rtcAdjustmentSeconds ?? 0);
    this.process = parts.process;
    this.log = parts.log;
    this.running = {
      state: parts.state,
      stopReason: undefined,
      isPoweredOff: parts.state.state === 'shutdown',
      isSettling: false,
    };
    this.unplugs = new Unplugs(parts.log);
    this.listeners = new GuestListeners(parts.log);
    this.channel = new AgentChannel(parts.definition, {
      domain: () => this.definition.name,
      socket: (alias) => this.record.sockets[alias],
      isOpen: (alias) => this.live.isChannelOpen(alias),
      isRunning: () => this.state.state === 'running',
    });
    this.agent = new GuestAgent((command, args, options) =>
      this.channel.openAgent().ask(command, args, options),
    );
    this.tuning = new QemuTuning({
      qmp: () => this.qmp(),
      definition: () => this.definition,
      directory: parts.record.directory,
    });
    this.blockJobs = new QemuBlockJobs(this, parts.log);
    this.backup = new QemuBackup(this, parts.log);
    this.keeper = new LogKeeper(parts.logLimits, parts.log);
    for (const path of [parts.record.logPath, ...parts.record.logs]) this.keeper.add(path);
    this.exited = this.process.ended.then((status) => this.onEnd(status));
  }

  get record(): GuestRecord {
    return this.remembered;
  }

  /** Remembers something else from now on; whoever changes the guest writes its status. */
  setRecord(record: GuestRecord): void {
    for (const path of record.logs) if (!this.remembered.logs.includes(path)) this.keeper.add(path);
    this.remembered = record;
  }

  setSaving(saving: SavingRecord | undefined): void {
    const { saving: _, ...record } = this.remembered;
    this.remembered = saving === undefined ? record : { ...record, saving };
  }

  setStill(still: StillRecord | undefined): void {
    const { still: _, ...record } = this.remembered;
    this.remembered = still === undefined ? record : { ...record, still };
  }

  settleSaving(): void {
    recoverSave(this, this.qmp(), this.log).catch((error: unknown) =>
      this.log.error({ err: error, domain: this.definition.name }, 'a save that was given up is not settled'),
    );
  }

  /** The definition as it runs from now on: a device came or went. */
  setDefinition(definition: DomainDef): void {
    this.live.replace(definition);
  }

  get state(): DomainState {
    return this.running.state;
  }

  get definition(): DomainDef {
    return this.live.current;
  }

  /** Notes that the guest opened or closed one of its channels. */
  setChannelOpen(alias: string, isOpen: boolean): void {
    this.live.setChannelOpen(alias, isOpen);
  }

  /** Takes the monitor into use: events from now on change the state. */
  attach(monitor: QmpClient): void {
    this.monitor = monitor;
    monitor.heedLateness();
    monitor.onEvent((event) => this.take(event));
    void this.untilClosed(monitor);
  }

  private async untilClosed(monitor: QmpClient): Promise<void> {
    const { error } = await monitor.closed;
    if (this.monitor === monitor) this.monitor = undefined;
    if (this.isDetached) return;
    // Most often QEMU has ended. After a protocol violation it lives on, unheard; then it can still be ended.
    this.log.debug({ pid: this.record.pid, reason: error.reason }, 'the monitor closed');
    this.process.lookForEnd();
  }

  /** Looks whether the process has ended; for when its monitor cannot be reached. */
  lookForEnd(): void {
    this.process.lookForEnd();
  }

  /** Sets the state that a query has told, and says so to listeners when it is news. */
  setState(state: DomainState, seconds: number): void {
    if (this.running.state.state === state.state && this.running.state.reason === state.reason) return;
    this.running = { ...this.running, state, isPoweredOff: state.state === 'shutdown' };
    this.listeners.emit({ kind: 'state', seconds, state });
  }

  /** Says an event that was missed while no daemon listened. */
  replay(event: GuestEvent): void {
    this.listeners.emit(event);
  }

  onEvent(listener: (event: GuestEvent) => void): () => void {
    return this.listeners.add(listener);
  }

  async suspend(reason: PauseReason = 'user'): Promise<void> {
    this.running = { ...this.running, stopReason: reason };
    await this.qmp().execute('stop');
  }

  /** Says why the next stop of the vCPUs will come. */
  expectStop(reason: NonNullable<RunMemory['stopReason']>): void {
    this.running = { ...this.running, stopReason: reason };
  }

  async resume(): Promise<void> {
    await this.qmp().execute('cont');
  }

  async takeDisksBack(): Promise<void> {
    const { state } = this.running;
    this.running = { ...this.running, isSettling: true };
    try {
      // Both at once: nothing of ours lies between them.
      const begun = this.qmp().execute('cont');
      await this.qmp().execute('stop');
      await begun;
    } finally {
      this.running = { ...this.running, isSettling: false, state };
    }
  }

  async powerButton(): Promise<void> {
    await this.qmp().execute('system_powerdown');
  }

  async reset(): Promise<void> {
    await this.qmp().execute('system_reset');
  }

  async injectNmi(): Promise<void> {
    await this.qmp().execute('inject-nmi');
  }

  async agentShutdown(mode: ShutdownMode): Promise<void> {
    await this.channel.agent().shutdown(mode);
  }

  async agentPing(): Promise<void> {
    await this.channel.openAgent().ping();
  }

  async agentInterfaces(): Promise<AgentInterface[]> {
    return this.channel.openAgent().interfaces();
  }

  async userNetworkAddresses(): Promise<{ alias: string; address: string }[]> {
    const isUsed = this.definition.devices.interfaces.some(({ source }) => source.type === 'user');
    return isUsed ? parseUserNetwork(await this.human('info usernet')) : [];
  }

  sendKeys(keys: readonly string[], holdMs: number): Promise<void> {
    return sendKeys(() => this.qmp(), keys, holdMs);
  }

  screenshot(screen: number): Promise<Screenshot> {
    return this.camera.take({
      qmp: () => this.qmp(),
      definition: () => this.definition,
      directory: this.record.directory,
      screen,
    });
  }

  async kill(options: { readonly force: boolean; readonly graceMs: number }): Promise<GuestExit> {
    await this.process.end(options);
    return this.exited;
  }

  async openConsole(alias: string | undefined, options: { readonly force: boolean }): Promise<Duplex> {
    const found = findConsole(this.definition, this.record, alias);
    const end = consoleEnd(found, this.record.uid ?? process.getuid?.() ?? 0);
    return this.consoles.open(found.alias, end, options);
  }

  openGraphics(index: number, options: { readonly skipAuth: boolean }): Promise<number> {
    return openGraphics(this.qmp(), this.definition, index, options);
  }

  addGraphicsClient(index: number, fd: number, options: { readonly skipAuth: boolean }): Promise<void> {
    return addGraphicsClient(this.qmp(), this.definition, { index, fd, ...options });
  }

  drainConsoles(): Promise<void> {
    return this.consoles.drain();
  }

  async setLink(interfaceAlias: string, isUp: boolean): Promise<void> {
    await this.qmp().execute('set_link', { name: interfaceAlias, up: isUp });
  }

  async receiveFilter(interfaceAlias: string): Promise<ReceiveFilter | undefined> {
    const [answer] = await this.qmp().execute('query-rx-filter', { name: interfaceAlias });
    return answer && receiveFilterOf(answer);
  }

  addPortForward(interfaceAlias: string, forward: PortForward): Promise<void> {
    return addForward((line) => this.human(line), interfaceAlias, forward);
  }

  removePortForward(interfaceAlias: string, forward: PortForward): Promise<void> {
    return removeForward((line) => this.human(line), interfaceAlias, forward);
  }

  monitorCommand(command: string, args?: Readonly<Record<string, unknown>>, fd?: number): Promise<unknown> {
    return this.qmp().executeRaw(command, args, { ...(fd !== undefined && { fd }) });
  }

  onMonitorEvent(listener: (event: MonitorEvent) => void): () => void {
    this.monitorListeners.add(listener);
    return () => this.monitorListeners.delete(listener);
  }

  async setResetAction(action: 'reset' | 'power-off'): Promise<void> {
    await this.qmp().execute('set-action', { reboot: action === 'reset' ? 'reset' : 'shutdown' });
  }

  async reloadVncCertificates(): Promise<void> {
    await this.qmp().execute('display-reload', { type: 'vnc', 'tls-certs': true });
  }

  detach(): void {
    this.isDetached = true;
    this.letGo();
    this.listeners.close();
    this.monitorListeners.clear();
  }

  /** The daemon that comes next finds the guest again. */
  get isLetGo(): boolean {
    return this.isDetached;
  }

  private letGo(): void {
    for (const take of this.atDetach.splice(0)) take();
    this.monitor?.close();
    this.monitor = undefined;
    this.consoles.close();
    this.keeper.close();
  }

  /** Adds something to be given up when the guest is let go, or has ended. */
  onDetach(take: () => void): void {
    this.atDetach.push(take);
  }

  private human(line: string): Promise<string> {
    return this.qmp().execute('human-monitor-command', { 'command-line': line });
  }

  /** QEMU's process, for whoever waits for long work of it. */
  get processId(): ProcessId {
    return this.process.id;
  }

  /** The monitor, for what is done to devices. @throws VirtError qmp.closed */
  monitorClient(): QmpClient {
    return this.qmp();
  }

  private qmp(): QmpClient {
    if (this.monitor !== undefined) return this.monitor;
    throw new VirtError('qmp.closed', {
      wanted: `talk to the QEMU of '${this.definition.name}'`,
      reason: 'its monitor does not answer',
      hint: `see whether process ${this.record.pid} is stopped; destroying the domain works all the same`,
    });
  }

  private take(event: MonitorEvent): void {
    const outcome = applyEvent(event, this.running, this.channel.alias);
    this.running = outcome.memory;
    this.blockJobs.take(event);
    this.backup.take(event);
    const { id, open } = event.data;
    if (event.name === 'VSERPORT_CHANGE' && typeof id === 'string') this.setChannelOpen(id, open === true);
    for (const told of outcome.events) this.tell(told);
    for (const listener of this.monitorListeners) listener(event);
  }

  private tell(event: GuestEvent): void {
    if (event.kind === 'device-deleted') void this.tellRemoved(event);
    else {
      if (event.kind === 'device-kept') this.unplugs.settle(event.alias, 'refused');
      this.listeners.emit(this.live.take(event));
    }
  }

  /** A device is gone of which QEMU says nothing. */
  deviceGone(alias: string): Promise<void> {
    return this.tellRemoved({ kind: 'device-deleted', seconds: Date.now() / 1000, alias });
  }

  /** First what was behind the device goes; then everybody hears of it, and who waits goes on. */
  private async tellRemoved(event: Extract<GuestEvent, { kind: 'device-deleted' }>): Promise<void> {
    await this.unplugs.clear(event.alias);
    this.listeners.emit(event);
    this.unplugs.settle(event.alias, 'removed');
  }

  /** Notes that the guest's clock is so far ahead, and says so. */
  setClock(offsetSeconds: number, seconds: number): void {
    this.live.setClock(offsetSeconds);
    this.listeners.emit({ kind: 'rtc-change', seconds, offsetSeconds });
  }

  private onEnd(status: WaitStatus): Promise<GuestExit> {
    this.letGo();
    return exitOf(status, this.record.logPath, this.log);
  }
}
