/** How a guest is started: named steps, each with its undo, so that a failure at any of them leaves nothing behind. */
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { ProcessId } from '../../base/spawn.ts';
import { Undo } from '../../base/undo.ts';
import { assignAliases } from '../../model/domain/aliases.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestRecord, IncomingState, LinkProvider, StartOptions } from '../driver.ts';
import { buildCommand } from './argv/build.ts';
import type { QemuCommand } from './argv/types.ts';
import { followChains, numberImages } from './backing-chain.ts';
import { buildContext, capabilitiesOf } from './context.ts';
import { hasHostDevices, withFunctions } from './functions.ts';
import { QemuGuest } from './guest.ts';
import { rtcAdjustmentOf } from './guest-clock.ts';
import { finishRemoval } from './hotplug/detach.ts';
import { imagePaths } from './image-paths.ts';
import { type Launched, launch } from './launch.ts';
import { withSevPlatform } from './launch-security.ts';
import { confineGuest, limitGuest, placeGuest } from './limits.ts';
import { liveDefinition } from './live-definition.ts';
import { dropMissingMedia } from './media.ts';
import { readMemorySizes } from './memory-sizes.ts';
import { endsSoon, type OpenMonitor, openMonitor, setPasswords, startFailed } from './monitor.ts';
import { ensureNvram } from './nvram.ts';
import { PassedGroups } from './passed-groups.ts';
import { GuestProcess } from './process.ts';
import type { QmpClient } from './qmp/client.ts';
import { receiveMemory } from './saved-state/memory.ts';
import { withSettledCpu } from './settled-cpu.ts';
import { noteSocket, prepareHost, type StartDeps, type Starting } from './starting.ts';
import { withPluggedCpus } from './tuning/start-cpus.ts';
import { withVolumeNames, withVolumePaths } from './volume-sources.ts';
import { withVsockCid } from './vsock-cid.ts';

/**
 * Starts a guest; `definition` is complete. On return QEMU runs and its vCPUs too, unless `paused`.
 * @throws VirtError domain.start-failed with the end of QEMU's log, and whatever the steps throw; nothing is left then
 */
export async function startGuest(
  deps: StartDeps,
  definition: DomainDef,
  domainId: number,
  start: StartOptions,
): Promise<QemuGuest> {
  const { options } = deps;
  await using undo = new Undo(options.logger);
  const capabilities = await capabilitiesOf(options, definition);
  if (options.sandbox && !capabilities.sandbox && options.mode === 'system') throw noSandbox(definition);
  const present = await withPresentImages(deps, definition);
  using passed = PassedGroups.take(present, options.passedFiles, `start '${definition.name}'`);
  const chained = numberImages(await followChains(present, options, passed));
  options.volumes?.refuseBusy(imagePaths(chained));
  const withCpu = withSettledCpu(withSevPlatform(chained, capabilities), capabilities);
  const chosen = await withFunctions(options, withCpu, undo);
  const complete = await withMtus(withVsockCid(assignAliases(chosen)), options.links);
  start.onStep?.('opening disks and links');
  const starting = { ...(await prepareHost(deps, undo, complete, domainId)), passed };
  const named = await takeHostDevices(starting, complete);
  const context = buildContext(deps.options, starting.directory, domainId, starting.ports, passed);
  const built = buildCommand(named, capabilities, context);
  const command = start.incoming === undefined ? built : awaitingState(built);
  const anew = start.resetNvram === true && start.incoming === undefined;
  if (await ensureNvram(named, { anew }))
    options.logger.info({ domain: named.name }, 'made the NVRAM from its template');
  await start.beforeLaunch?.(named);
  start.signal?.throwIfAborted();
  start.onStep?.('waiting for QEMU');
  // Before QEMU, so that it is done when that has ended: a group with processes in it stays.
  undo.add('remove control groups', () => options.groups?.remove(named.uuid ?? ''));
  const launched = await launch(starting, named, command, context);
  const placing = placeGuest(starting, named, domainId, launched).then(() =>
    confineGuest(starting, named, launched),
  );
  // Awaited below, unless QEMU fails before: then it must not make groups behind whoever takes them away.
  const settled = placing.catch(() => undefined);
  undo.add('let the placing end', () => settled);
  const opened = await openMonitor(starting, named, launched, command, {
    path: context.qmpSocket,
    signal: start.signal,
  });
  undo.add('close the monitor', () => opened.monitor.close());
  try {
    const spawned = { starting, definition: named, command, launched, opened };
    const record = await recordOf(spawned, context.qmpSocket);
    await placing;
    const live = withVolumeNames(liveDefinition(named, { ...record, actual: starting.actual }), definition);
    const guest = await bringUp(spawned, { record, live, start });
    undo.keep();
    return guest;
  } catch (error) {
    if (!isVirtError(error) || !error.code.startsWith('qmp.')) throw error;
    throw await startFailed(starting, named, error, await endsSoon(launched.child));
  }
}

/** The definition on images that are there: volumes by their paths, without optional media that are missing. */
async function withPresentImages({ options }: StartDeps, definition: DomainDef): Promise<DomainDef> {
  const { name } = definition;
  const onDrop = (path: string) =>
    options.logger.warn({ domain: name, path }, 'an optional image is missing; starting without it');
  const placed = await withVolumePaths(definition, options.volumes, { wanted: `start '${name}'`, onDrop });
  return dropMissingMedia(placed, onDrop);
}

/** A QEMU that has said its greeting, and what it was started for. */
interface Spawned {
  readonly starting: Starting;
  /** Complete, with its aliases. */
  readonly definition: DomainDef;
  readonly command: QemuCommand;
  readonly launched: Launched;
  readonly opened: OpenMonitor;
}

/** The same guest, whose QEMU waits for a saved state instead of booting. */
function awaitingState(command: QemuCommand): QemuCommand {
  return { ...command, args: [...command.args, { flag: '-incoming', value: 'defer' }] };
}

/** From the greeting to running vCPUs. */
async function bringUp(
  { starting, definition, command, launched, opened: { monitor } }: Spawned,
  {
    record,
    live,
    start,
  }: { readonly record: GuestRecord; readonly live: DomainDef; readonly start: StartOptions },
): Promise<QemuGuest> {
  const { options } = starting.deps;
  for (const step of command.setup) await monitor.executeRaw(step.execute, step.arguments);
  await setPasswords(monitor, definition);
  const guest = new QemuGuest({
    record,
    definition: await withPluggedCpus(live, monitor),
    process: GuestProcess.ofChild(launched.child),
    state: { state: 'paused', reason: 'starting up' },
    log: options.logger,
    logLimits: options.logLimits,
  });
  starting.undo.add('let go of the guest', () => guest.detach());
  guest.unplugs.onRemoval((alias) => finishRemoval(starting.deps, guest, alias));
  guest.attach(monitor);
  await limitGuest(starting, guest);
  await run(guest, start, monitor, launched.child);
  return guest;
}

/** Devices of the host become this guest's, and the host's again when the start fails. */
async function takeHostDevices(starting: Starting, definition: DomainDef): Promise<DomainDef> {
  const { hostDevices } = starting.deps.options;
  if (hostDevices === undefined || !hasHostDevices(definition)) return definition;
  const domainUuid = definition.uuid ?? '';
  const uid = starting.identity?.uid;
  const taken = await hostDevices.take({
    domainUuid,
    domainName: definition.name,
    definition,
    ...(uid !== undefined && { uid }),
  });
  starting.undo.add('give back devices of the host', () => hostDevices.release(domainUuid));
  return taken;
}

/** In system mode a guest without the sandbox is an administrator's decision, not an accident of the binary. */
function noSandbox(definition: DomainDef): VirtError {
  return new VirtError('qemu.lacks', {
    wanted: `start '${definition.name}'`,
    reason: `${definition.devices.emulator} was built without the seccomp sandbox`,
    hint: 'use a QEMU with seccomp, or switch the sandbox off in the configuration',
  });
}

async function run(
  guest: QemuGuest,
  start: StartOptions,
  monitor: QmpClient,
  process: ProcessId,
): Promise<void> {
  const { incoming } = start;
  if (incoming !== undefined) return goOn(guest, start, incoming, { monitor, process });
  if (start.paused) guest.setState({ state: 'paused', reason: 'user' }, Date.now() / 1000);
  else await guest.resume();
}

/** Loads a saved state; only when nobody else can load it any more, the guest runs. */
async function goOn(
  guest: QemuGuest,
  start: StartOptions,
  incoming: IncomingState,
  { monitor, process }: { readonly monitor: QmpClient; readonly process: ProcessId },
): Promise<void> {
  start.onStep?.('loading the state');
  await receiveMemory(monitor, incoming.fd, {
    signal: start.signal,
    process,
    sparse: incoming.sparse,
  });
  await readMemorySizes(guest, monitor);
  await incoming.onLoaded?.(guest);
  if (!start.paused) await guest.resume();
  const seconds = Date.now() / 1000;
  if (start.paused) guest.setState({ state: 'paused', reason: 'user' }, seconds);
  else guest.setState({ state: 'running', reason: 'restored' }, seconds);
}

/** Cards of networks with an MTU have it too, where they can be told: virtio's. */
export async function withMtus(definition: DomainDef, links: LinkProvider | undefined): Promise<DomainDef> {
  if (links?.mtuOf === undefined) return definition;
  const { devices } = definition;
  const interfaces = [];
  for (const nic of devices.interfaces) {
    const isAsked = nic.mtu === undefined && nic.model?.startsWith('virtio') === true;
    const mtu = isAsked ? await links.mtuOf(nic) : undefined;
    interfaces.push(mtu === undefined ? nic : { ...nic, mtu });
  }
  return { ...definition, devices: { ...devices, interfaces } };
}

async function recordOf(
  { starting, definition, command, launched, opened }: Spawned,
  qmpSocket: string,
): Promise<GuestRecord> {
  const cid = definition.devices.vsock?.cid?.address;
  const ahead = rtcAdjustmentOf(definition);
  // QEMU makes those of its display servers itself, and leaves them behind when it is killed.
  for (const [alias, path] of Object.entries(command.sockets))
    if (alias.startsWith('graphics')) noteSocket(starting, path);
  return {
    pid: launched.child.pid,
    startTimeTicks: launched.child.startTimeTicks,
    qemuPath: command.binary,
    directory: starting.directory,
    qmpSocket,
    ptys: await opened.ptys,
    sockets: command.sockets,
    ...(starting.identity !== undefined && { uid: starting.identity.uid }),
    startedAtMs: Date.now(),
    logPath: starting.logPath,
    logs: starting.logs,
    graphicsPorts: starting.ports,
    helpers: launched.helpers,
    links: starting.links,
    ...(starting.keptLinks.length > 0 && { keptLinks: starting.keptLinks }),
    foreignSockets: starting.foreignSockets,
    ...(cid !== undefined && { vsockCid: cid }),
    ...(ahead !== undefined && { rtcAdjustmentSeconds: ahead }),
  };
}
