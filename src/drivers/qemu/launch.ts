/** Opens everything that QEMU inherits, starts its helpers, and spawns it. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { allSettledOrThrow } from '../../base/settled.ts';
import { type DetachedProcess, killProcess, spawnDetached } from '../../base/spawn.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { HelperRecord } from '../driver.ts';
import { renderArgs } from './argv/render.ts';
import type { BuildContext, QemuCommand } from './argv/types.ts';
import { DescriptorTable } from './descriptors.ts';
import { endHelper, startHelper } from './helpers.ts';
import { openLog, writeHeader } from './log-file.ts';
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
    const log = await openLog(starting.logPath);
    table.addHandle(1, log);
    table.alias(2, 1);
    const environment = environmentOf(command, context);
    const helpers: HelperRecord[] = [];
    const onSocket = (path: string): void => noteSocket(starting, path);
    for (const need of command.helpers) {
      const { identity } = starting;
      const helper = await startHelper(need, { identity, logFd: log.fd, onSocket, environment });
      undo.add(`end ${helper.kind}`, () => endHelper(helper));
      helpers.push(helper);
    }
    const args = renderArgs(command);
    await allSettledOrThrow([
      open('/dev/null', constants.O_RDONLY).then((handle) => table.addHandle(0, handle)),
      openNeeds(starting, definition, command.fds, table),
      writeHeader(log, [command.binary, ...args], Date.now()),
    ]);
    const child = await spawnDetached({
      file: command.binary,
      args,
      environment,
      directory: starting.directory,
      descriptors: table.list(),
      ...(starting.identity !== undefined && { identity: starting.identity }),
      limits: { coreBytes: 0, openFiles: deps.options.openFiles },
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
