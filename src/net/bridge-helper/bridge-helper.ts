/**
 * Taps on bridges for ordinary users: QEMU's own setuid program makes one where the administrator's list allows it, and
 * sends its descriptor. We run it, not QEMU, whose sandbox starts no programs.
 */
import { constants, readFileSync, readSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, oneLine, VirtError } from '../../base/errors.ts';
import { findProgram } from '../../base/exec.ts';
import { close, getAttribute, ioctlBuffer, memfdCreate, recvWithFds, socketPair } from '../../base/ffi.ts';
import { statIfPresent } from '../../base/files.ts';
import { spawnDetached } from '../../base/spawn.ts';
import { accessListPath, allowedBridges, bridgeVerdict, type Verdict } from './access-list.ts';

/** Debian and Ubuntu; Fedora; openSUSE; Arch. */
const helperPaths = ['/usr/lib/qemu/qemu-bridge-helper', '/usr/libexec/qemu-bridge-helper'];

/** It does a handful of ioctls. */
const HELPER_MS = 10_000;

/** What of the host the helper depends on; tests give their own. */
export interface BridgeHelperHost {
  readonly helperPaths: readonly string[];
  readonly accessList: string;
  /** Programs started by us can gain no rights (prctl(2), PR_SET_NO_NEW_PRIVS). */
  cannotGainRights(): boolean;
}

export const thisHost: BridgeHelperHost = {
  helperPaths,
  accessList: accessListPath,
  cannotGainRights: () => /^NoNewPrivs:\s*1/m.test(readFileSync('/proc/self/status', 'latin1')),
};

/** A tap that the helper has made: ours is the only descriptor, and the tap goes with the last of them. */
export interface HelpedTap {
  readonly fd: number;
  readonly name: string;
}

/**
 * Sees whether this user may have a tap on that bridge.
 * @throws VirtError program.missing, access.denied with the line that has to be added, link.failed without that bridge
 */
export async function checkBridge(bridge: string, wanted: string, host = thisHost): Promise<string> {
  const helper = await findHelper(host);
  if (helper === undefined)
    throw new VirtError('program.missing', {
      wanted,
      reason: 'qemu-bridge-helper is not installed',
      hint: 'install the package qemu-system-common (Debian, Ubuntu) or qemu-common (Fedora)',
    });
  if ((await statIfPresent(`/sys/class/net/${bridge}/bridge`)) === undefined)
    throw new VirtError('link.failed', { wanted, reason: `the host has no bridge '${bridge}'` });
  const verdict = await bridgeVerdict(bridge, host.accessList);
  const refusal = refusalOf(verdict, bridge, host.accessList);
  if (refusal !== undefined) throw new VirtError('access.denied', { wanted, ...refusal });
  // Root needs no help to be root.
  if (process.geteuid?.() === 0) return helper;
  if (!(await isPrivileged(helper)))
    throw new VirtError('access.denied', {
      wanted,
      reason: `${helper} has no right to make taps`,
      hint: `as root: chmod u+s ${helper}   (Debian keeps it with: dpkg-statoverride --update --add root root 4755 ${helper})`,
    });
  if (host.cannotGainRights())
    throw new VirtError('access.denied', {
      wanted,
      reason: 'this daemon runs with NoNewPrivileges, under which setuid programs gain no rights',
      hint: 'start it without systemd (the command line does so where the unit is off), or lift the hardening of its user unit as docs/guide/session-networks.md shows',
    });
  return helper;
}

function refusalOf(
  verdict: Verdict,
  bridge: string,
  list: string,
): { readonly reason: string; readonly hint: string } | undefined {
  const add = `as root, add the line 'allow ${bridge}' to ${list}`;
  switch (verdict.kind) {
    case 'allowed':
      return undefined;
    // Only the helper, as root, can read it then; it will say so.
    case 'unreadable':
      return undefined;
    case 'denied':
      return {
        reason: `${list} denies bridge '${bridge}'`,
        hint: `as root, take the 'deny' that fits it out of ${list}, and see that it has the line 'allow ${bridge}'`,
      };
    case 'unlisted':
      return { reason: `${list} does not allow bridge '${bridge}'`, hint: add };
    case 'missing':
      return {
        reason: `${verdict.path} does not exist, so no bridge is allowed`,
        hint:
          verdict.path === list
            ? `${add} (mode 0644)`
            : `as root, make ${verdict.path}, which ${list} includes`,
      };
    case 'faulty':
      return {
        reason: `${verdict.path} has an error in line ${verdict.line}`,
        hint: `a line is 'allow NAME', 'deny NAME' or 'include FILE'`,
      };
  }
}

async function findHelper(host: BridgeHelperHost): Promise<string | undefined> {
  for (const path of host.helperPaths) {
    const found = await findProgram(path);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Setuid root, or with the capability CAP_NET_ADMIN of its own. */
async function isPrivileged(helper: string): Promise<boolean> {
  const { mode, uid } = await stat(helper);
  if (uid === 0 && (mode & constants.S_IFMT) === constants.S_IFREG && (mode & 0o4000) !== 0) return true;
  const capabilities = getAttribute(helper, 'security.capability');
  // struct vfs_cap_data (linux/capability.h): magic 32 bits, then the low 32 bits that are permitted.
  const CAP_NET_ADMIN = 12;
  return (
    capabilities !== undefined &&
    capabilities.length >= 8 &&
    (capabilities.readUInt32LE(4) & (1 << CAP_NET_ADMIN)) !== 0
  );
}

/** In one clause for an error about networks in a session: which bridges this user may use, or what is missing. */
export async function describeBridges(host = thisHost): Promise<string> {
  const helper = await findHelper(host);
  if (helper === undefined) return 'qemu-bridge-helper is not installed';
  const allowed = await allowedBridges(host.accessList);
  if (allowed.length === 0) return `${host.accessList} allows none`;
  const names = allowed.includes('all') ? 'any bridge' : allowed.join(', ');
  if (process.geteuid?.() !== 0 && !(await isPrivileged(helper)))
    return `${host.accessList} allows ${names}, but ${helper} is not setuid root`;
  if (process.geteuid?.() !== 0 && host.cannotGainRights())
    return `${host.accessList} allows ${names}, but this daemon runs with NoNewPrivileges`;
  return `${host.accessList} allows ${names}`;
}

/**
 * Has the helper make a tap and put it on the bridge.
 * @throws VirtError as checkBridge; link.failed with what the helper said
 */
export async function openHelpedTap(bridge: string, wanted: string, host = thisHost): Promise<HelpedTap> {
  const helper = await checkBridge(bridge, wanted, host);
  const [ours, theirs] = socketPair();
  const messages = memfdCreate('vireo-bridge-helper');
  const input = await open('/dev/null', constants.O_RDWR);
  try {
    const child = await spawnDetached({
      file: helper,
      args: ['--use-vnet', `--br=${bridge}`, '--fd=3'],
      environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      directory: '/',
      descriptors: [input.fd, input.fd, messages, theirs],
      limits: { coreBytes: 0, openFiles: 1024 },
      // It is there to gain a right.
      noNewPrivileges: false,
    });
    const status = await Promise.race([child.ended, sleep(HELPER_MS, undefined, { ref: false })]);
    const received = recvWithFds(ours, 1, 1);
    const [fd] = received?.fds ?? [];
    if (status?.exitCode === 0 && fd !== undefined) return { fd, name: nameOf(fd) };
    if (fd !== undefined) close(fd);
    const said = textOf(messages);
    throw new VirtError('link.failed', {
      wanted,
      reason: status === undefined ? `${helper} does not end` : said === '' ? `${helper} failed` : said,
      hint: /dev\/net\/tun.*denied/i.test(said)
        ? 'as root: chmod 0666 /dev/net/tun (its usual mode; who may do what with it is decided elsewhere)'
        : `see that ${host.accessList} has the line 'allow ${bridge}'`,
    });
  } finally {
    close(ours);
    close(theirs);
    close(messages);
    await input.close();
  }
}

function textOf(fd: number): string {
  const buffer = Buffer.alloc(2048);
  return oneLine(buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, 0)).trim());
}

/** TUNGETIFF (linux/if_tun.h) on a struct ifreq: 16 bytes of name first, 40 in all. */
function nameOf(fd: number): string {
  const TUNGETIFF = 0x800454d2;
  const request = Buffer.alloc(40);
  try {
    ioctlBuffer(fd, TUNGETIFF, request);
  } catch (error) {
    close(fd);
    throw new VirtError('link.failed', {
      reason: `what qemu-bridge-helper sent is no tap: ${errnoOf(error) ?? String(error)}`,
      cause: error,
    });
  }
  return request.toString('latin1', 0, request.indexOf(0));
}
