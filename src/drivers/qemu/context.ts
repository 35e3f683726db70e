/** Facts that a command line is built from: what the binary offers, and what this host and configuration are. */
import { join } from 'node:path';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { mayUse } from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GraphicsPorts } from '../driver.ts';
import type { BuildContext } from './argv/types.ts';
import type { QemuDriverOptions } from './options.ts';
import type { PassedGroups } from './passed-groups.ts';
import type { QemuCapabilities } from './probe/types.ts';

/** QMP's own name in the guest's directory: short, since a socket's path has 107 bytes. */
export const monitorName = 'qmp';

/** @throws VirtError qemu.missing, qemu.probe-failed */
export async function capabilitiesOf(
  options: QemuDriverOptions,
  definition: DomainDef,
): Promise<QemuCapabilities> {
  const path = definition.devices.emulator;
  if (path === undefined) throw new Error('a definition without an emulator was not prepared');
  try {
    return await options.emulators.capabilities(path);
  } catch (error) {
    if (!isVirtError(error, 'file.not-found')) throw error;
    throw new VirtError('qemu.missing', {
      wanted: `use the emulator of '${definition.name}'`,
      reason: `${path} does not exist`,
      hint: 'install that QEMU, or name another emulator in the definition',
      cause: error,
    });
  }
}

/** Facts for building the command line of a guest whose directory is known. */
export function buildContext(
  options: QemuDriverOptions,
  directory: string,
  domainId: number,
  graphicsPorts: readonly GraphicsPorts[],
  passed?: PassedGroups,
): BuildContext {
  return {
    domainId,
    directory,
    qmpSocket: join(directory, monitorName),
    nvramDirectory: options.nvramDirectory,
    tpmDirectory: options.tpmDirectory,
    logDirectory: options.logDirectory,
    mode: options.mode,
    sandbox: options.sandbox,
    vhostNet: mayUse('/dev/vhost-net'),
    hostArch: options.hostArch,
    allowCommandLinePassthrough: options.allowCommandLinePassthrough,
    graphicsPorts,
    nowMs: Date.now(),
    utcOffsetSeconds: -60 * new Date().getTimezoneOffset(),
    scsiNode: (place) => options.hostDevices?.scsiNode(place),
    ...(passed && { passedGroups: passed.all }),
    ...(options.memoryDirectory !== undefined && { memoryDirectory: options.memoryDirectory }),
  };
}
