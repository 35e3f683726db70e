/**
 * Mounting where the whole host sees it. A systemd service with a file system sandbox (`ProtectSystem=`) has a mount namespace
 * of its own: what it mounts stays there and is gone with it (systemd.exec(5), "MountFlags="). What systemd itself mounts comes
 * in from outside. So there mount(8) and umount(8) run as short services of their own, by systemd-run(1).
 */
import { existsSync } from 'node:fs';
import { readText } from '../base/files.ts';

/** A program and its arguments. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
}

const MAX_MOUNTINFO = 64 * 1024 * 1024;

/** A mount that hangs ends with its service, a little after whoever waits for it gives up. */
const LIMIT_SECONDS = 65;

/** The command as it must be run here, so that its mounts are the host's. @throws VirtError file.* */
export async function onHost(command: Command): Promise<Command> {
  return (await isApart()) ? byServiceManager(command) : command;
}

/** The same command as a service of its own, with its output and exit status, pure. */
export function byServiceManager({ program, args }: Command): Command {
  return {
    program: 'systemd-run',
    args: [
      ...['--quiet', '--wait', '--pipe', '--collect', '--service-type=exec'],
      ...['--property', `RuntimeMaxSec=${LIMIT_SECONDS}`, '--'],
      program,
      // systemd puts variables in, but for a doubled sign (systemd.service(5), "Command lines").
      ...args.map((arg) => arg.replaceAll('$', '$$$$')),
    ],
  };
}

/** True when systemd runs the host (sd_booted(3)) and this process has mounts of its own. */
async function isApart(): Promise<boolean> {
  if (!existsSync('/run/systemd/system')) return false;
  // The namespaces themselves are told to those with all of systemd's capabilities only.
  const [ours, hosts] = await Promise.all(
    ['self', '1'].map((pid) => readText(`/proc/${pid}/mountinfo`, MAX_MOUNTINFO)),
  );
  return rootMountOf(ours ?? '') !== rootMountOf(hosts ?? '');
}

/** The number of the mount on `/`, which no two namespaces share; the last one counts (proc_pid_mountinfo(5)). */
export function rootMountOf(mountinfo: string): string | undefined {
  return mountinfo
    .split('\n')
    .map((line) => line.split(' '))
    .findLast((fields) => fields[4] === '/')?.[0];
}
