/** Opens everything that QEMU inherits, starts its helpers, and spawns it. */
import { constants, openSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { allSettledOrThrow } from '../../base/settled.ts';
import { type DetachedProcess, killProcess, spawnDetached } from '../../base/spawn.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { HelperRecord } from '../driver.ts';
import { renderArgs } from './argv/render.ts';
import type { BuildContext, QemuCommand } from './argv/types.ts';
import { DescriptorTable } from './descriptors.ts';
import { endHelper, startHelper } from './helpers.ts';
import { isRangeMapped } from './identity.ts';
import { lockedBytes } from './locked-memory.ts';
import { writeHeader } from './log-file.ts';
import { openNeeds } from './needs.ts';
import { noteSocket, type Starting } from './starting.ts';

/** The variable by which processes of a guest are known: its directory. */
export const guestVariable = 'VIREO_GUEST';

/** What a spawn has left: QEMU, and the helpers before it. */
export interface Launched {
  readonly child: DetachedProcess;
  readonly helpers: readonly HelperRecord[];
}

/** Opens everything and spawns. When this returns, our copies of the descriptors are closed. */
export async function launch(
  starting: Starting,
  definition: DomainDef,
  command: QemuCommand,
  context: BuildContext,
): Promise<Launched> {
  const { deps, undo } = starting;
  const table = new DescriptorTable();
  try {
    table.addFd(0, openSync('/dev/null', constants.O_RDONLY));
    const args = renderArgs(command);
    const environment = environmentOf(command, context);
    const logging = startLog(starting, table, [command.binary, ...args]);
    // Helpers write to the log too, and what QEMU gets may be a connection to one of them.
    const helpers =
      command.helpers.length === 0
        ? []
        : await startHelpers(starting, command, await logging, { table, environment });
    await allSettledOrThrow<unknown>([openNeeds(starting, definition, command.fds, table), logging]);
    const locked = lockedBytes(definition);
    const child = await spawnDetached({
      file: command.binary,
      args,
      environment,
      directory: starting.directory,
      descriptors: table.list(),
      ...(starting.identity !== undefined && { identity: starting.identity }),
      // Helpers run as the guest's user, and a configured user may have any number of processes.
      isUidUnused: helpers.length === 0 && isRangeMapped(deps.options.uidRange),
      limits: {
        coreBytes: 0,
        openFiles: deps.options.openFiles,
        ...(locked !== undefined && { lockedBytes: locked }),
      },
    }).catch((error: unknown) => {
      throw notExecuted(error, definition);
    });
    undo.add('end QEMU', async () => {
      killProcess(child, 'SIGKILL');
      await child.ended;
    });
    return { child, helpers };
  } finally {
    await table.close();
  }
}

/** A binary that the kernel does not execute: the same to a caller as one that ends at once. */
function notExecuted(error: unknown, definition: DomainDef): unknown {
  if (!isVirtError(error, 'program.failed')) return error;
  return new VirtError('domain.start-failed', {
    wanted: `start '${definition.name}'`,
    reason: `${definition.devices.emulator}: ${error.reason}`,
    hint: 'see whether that file is a QEMU for this host that every user may execute',
    ...(error.details && { details: error.details }),
    cause: error,
  });
}

/** Makes QEMU's log its standard output and error, and writes the line that begins a start. */
async function startLog(
  starting: Starting,
  table: DescriptorTable,
  argv: readonly string[],
): Promise<FileHandle> {
  const log = await starting.log;
  table.addHandle(1, log);
  table.alias(2, 1);
  await writeHeader(log, argv, Date.now());
  return log;
}

/** Starts the helpers one after the other; each is ended again when the start fails. */
async function startHelpers(
  starting: Starting,
  command: QemuCommand,
  log: FileHandle,
  { table, environment }: HelperSurroundings,
): Promise<HelperRecord[]> {
  const { identity, undo } = starting;
  const helpers: HelperRecord[] = [];
  for (const need of command.helpers) {
    const helper = await startHelper(need, {
      identity,
      logFd: log.fd,
      onSocket: (path) => noteSocket(starting, path),
      onLog: (path) => void starting.logs.push(path),
      onDescriptor: (target, fd) => table.addFd(target, fd),
      environment,
    });
    undo.add(`end ${helper.kind}`, () => endHelper(helper));
    helpers.push(helper);
  }
  return helpers;
}

interface HelperSurroundings {
  readonly table: DescriptorTable;
  readonly environment: Readonly<Record<string, string>>;
}

/** The closed list of variables that QEMU sees. */
function environmentOf(command: QemuCommand, context: BuildContext): Record<string, string> {
  const own: Record<string, string> = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  if (context.mode === 'session')
    // Audio servers and user configuration of libraries are found by these.
    for (const name of ['HOME', 'XDG_RUNTIME_DIR']) {
      const value = process.env[name];
      if (value !== undefined) own[name] = value;
    }
  return { ...own, ...command.environment, [guestVariable]: context.directory };
}
