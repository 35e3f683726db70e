/** From the spawn to a monitor that answers: the greeting, or why it never came; and what is asked and set first. */
import { type ErrorCode, isVirtError, oneLine, VirtError } from '../../base/errors.ts';
import type { DetachedProcess } from '../../base/spawn.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { withoutSecrets } from '../../model/domain/redaction.ts';
import type { QemuCommand } from './argv/types.ts';
import { isPtyPath } from './console.ts';
import { imagePaths } from './image-paths.ts';
import type { Launched } from './launch.ts';
import { readTail, sinceStart } from './log-file.ts';
import type { QemuDriverOptions } from './options.ts';
import { connectQmp, type QmpClient } from './qmp/client.ts';
import type { Starting } from './starting.ts';

/** A monitor that answers, and the pseudo terminals that QEMU has made, by alias. */
export interface OpenMonitor {
  readonly monitor: QmpClient;
  readonly ptys: Promise<Record<string, string>>;
}

/** Waits for the greeting, or for QEMU's early end, whichever comes first. */
export async function openMonitor(
  starting: Starting,
  definition: DomainDef,
  launched: Launched,
  command: QemuCommand,
  options: { readonly path: string; readonly signal: AbortSignal | undefined },
): Promise<OpenMonitor> {
  const { timeouts, logger, onMonitorReply } = starting.deps.options;
  const { path, signal } = options;
  const { uuid = '' } = definition;
  let ptys: Promise<Record<string, string>> = Promise.resolve({});
  try {
    const monitor = await connectQmp(path, {
      timeoutMs: timeouts.startMs,
      commandMs: timeouts.commandMs,
      ...(signal !== undefined && { signal }),
      early: (client) => {
        ptys = findPtys(client, command, timeouts.startMs);
        ptys.catch(() => undefined); // whoever needs them hears of it
      },
      ...(onMonitorReply && { onReply: (reply) => onMonitorReply(uuid, reply) }),
      onProblem: (error) =>
        logger.warn({ err: error, domain: definition.name }, 'QEMU broke the monitor protocol'),
    });
    return { monitor, ptys };
  } catch (error) {
    if (!isVirtError(error) || error.code === 'operation.aborted') throw error;
    // QEMU closes the socket when it ends; only then does its log say why.
    const hasEnded = await endsSoon(launched.child);
    throw await startFailed(starting, definition, error, hasEnded);
  }
}

/** After the socket has closed the process is gone within milliseconds, or it is not going. */
export async function endsSoon(child: DetachedProcess): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, 500, false);
  void child.ended.then(() => resolve(true));
  const ended = await promise;
  clearTimeout(timer);
  return ended;
}

/** The error for a start that QEMU did not survive, or did not answer: with what it said. */
export async function startFailed(
  starting: Starting,
  definition: DomainDef,
  cause: VirtError,
  hasEnded: boolean,
): Promise<VirtError> {
  // QEMU repeats the words that it does not like, with what is secret in them.
  const said = withoutSecrets(definition, sinceStart(await readTail(starting.logPath, 8192)));
  const wanted = `start '${definition.name}'`;
  const held = isLockFailure(said)
    ? (usedTwice(definition, wanted) ??
      (await heldBy(starting.deps.options, definition, {
        wanted,
        code: 'domain.start-failed',
        exceptUuid: definition.uuid,
      })))
    : undefined;
  if (held !== undefined) return held;
  const how = hasEnded ? 'QEMU ended before it was ready' : cause.reason;
  return new VirtError('domain.start-failed', {
    wanted,
    reason: said === '' ? how : `${how}: ${oneLine(withoutStamps(said), 1000)}`,
    hint: hintFor(said) ?? `see ${starting.logPath}`,
    details: { stderr: said, log: starting.logPath },
    cause,
  });
}

const isLockFailure = (said: string): boolean => /Failed to get .*lock/.test(said);

/** Two disks of the domain itself that are one image, as an error. */
function usedTwice({ devices }: DomainDef, wanted: string): VirtError | undefined {
  const seen = new Map<string, string>();
  for (const disk of devices.disks) {
    const path = pathOfSource(disk.source);
    if (path === undefined) continue;
    const first = seen.get(path);
    if (first !== undefined)
      return new VirtError('domain.start-failed', {
        wanted,
        reason: `its disks ${first} and ${disk.target.dev} are the same image, ${path}`,
        hint: `take one of them away: 'vireo detach NAME ${disk.target.dev}'`,
      });
    seen.set(path, disk.target.dev);
  }
  return undefined;
}

/** Which guest has the image, as an error; undefined when none of ours has. */
async function heldBy(
  { volumes }: QemuDriverOptions,
  definition: DomainDef,
  how: { readonly wanted: string; readonly code: ErrorCode; readonly exceptUuid?: string | undefined },
): Promise<VirtError | undefined> {
  const { wanted, code, exceptUuid } = how;
  const holders = (await volumes?.holders(imagePaths(definition), exceptUuid)) ?? [];
  const [first] = holders;
  if (first === undefined) return undefined;
  return new VirtError(code, {
    wanted,
    reason: `domain '${first.domain}' runs and uses ${first.path}`,
    hint: 'shut it down, or mark the disk <shareable/> (or <readonly/>) in both',
    details: { holders },
  });
}

/** A failure to plug a disk in; when a guest (this one, too) has the image locked, it is named. `definition` has its paths. */
export async function diskHeld(
  options: QemuDriverOptions,
  error: unknown,
  { wanted, definition }: { readonly wanted: string; readonly definition: DomainDef },
): Promise<unknown> {
  if (!isVirtError(error, 'qmp.failed') || !isLockFailure(error.reason)) return error;
  return (await heldBy(options, definition, { wanted, code: 'domain.state' })) ?? error;
}

/** QEMU's time stamps and its own name at each line help nobody in an error that comes at once. */
function withoutStamps(said: string): string {
  return said
    .split('\n')
    .filter((line) => !line.startsWith('char device redirected'))
    .map((line) => line.replace(/^\S+T\S+Z \S*qemu\S*: /, ''))
    .join(' / ');
}

/** Repairs for what goes wrong most often. */
function hintFor(said: string): string | undefined {
  if (isLockFailure(said))
    return 'another guest or program uses one of these disks; shut that down, or mark the disk <shareable/> in both';
  if (/Address already in use/.test(said))
    return 'another program uses that port; choose another, or let it be chosen (autoport)';
  const rule = /Could not set up host forwarding rule '(tcp|udp):([^']*?)-/.exec(said);
  if (rule !== null)
    return `another program uses ${rule[1]} ${rule[2]}, or the daemon may not open it: forward another port of the host`;
  if (/cannot initialize fsdev .*Permission denied/.test(said))
    return "the guest's own user must be able to read (and write) that directory, and to pass all those above it";
  if (/locking memory failed|VFIO_MAP_DMA|VFIO_IOMMU_MAP_DMA|vfio_dma_map/.test(said))
    return 'the guest needs more locked memory than the daemon may allow it: raise LimitMEMLOCK of the daemon, or give it CAP_SYS_RESOURCE';
  if (/[Cc]annot allocate memory/.test(said)) return 'the host has too little free memory for this guest';
  return undefined;
}

/** QEMU makes pseudo terminals by itself, so it has to be asked which; one question for all, and none without any. */
async function findPtys(
  monitor: QmpClient,
  command: QemuCommand,
  timeoutMs: number,
): Promise<Record<string, string>> {
  const ptys: Record<string, string> = {};
  if (Object.keys(command.ptys).length === 0) return ptys;
  for (const { label, filename } of await monitor.execute('query-chardev', undefined, { timeoutMs })) {
    const alias = Object.hasOwn(command.ptys, label) ? command.ptys[label] : undefined;
    const path = /^pty:(.*)$/.exec(filename)?.[1];
    if (alias !== undefined && path !== undefined && isPtyPath(path)) ptys[alias] = path;
  }
  return ptys;
}

/** Passwords never stand in argv: they are set here, before the guest runs. */
export async function setPasswords(
  monitor: QmpClient,
  definition: DomainDef,
  { isRenewed = false }: { readonly isRenewed?: boolean } = {},
): Promise<void> {
  for (const graphics of definition.devices.graphics) {
    if ((graphics.type !== 'vnc' && graphics.type !== 'spice') || graphics.passwd === undefined) continue;
    const protocol = graphics.type;
    await monitor.execute('set_password', {
      protocol,
      password: graphics.passwd,
      // QEMU: VNC knows only `keep`.
      ...(graphics.connected !== undefined && protocol === 'spice' && { connected: graphics.connected }),
    });
    const { passwdValidTo } = graphics;
    if (passwdValidTo !== undefined)
      await monitor.execute('expire_password', { protocol, time: unixSeconds(passwdValidTo) });
    // QEMU keeps the time of the password before.
    else if (isRenewed) await monitor.execute('expire_password', { protocol, time: 'never' });
  }
}

/** The model's time is UTC when it names no zone. */
function unixSeconds(time: string): string {
  const hasZone = /(Z|[+-]\d\d:\d\d)$/.test(time);
  return String(Math.floor(Date.parse(hasZone ? time : `${time}Z`) / 1000));
}
