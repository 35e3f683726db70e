/** Asks polkit whether a client may use a socket, by its program pkcheck: libvirt's actions, so its policies and rules hold. */
import { isVirtError, reasonOf } from '../../../base/errors.ts';
import { findProgram, run } from '../../../base/exec.ts';
import { statIfPresent } from '../../../base/files.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../libvirt/errors.ts';

/** A process as polkit names it: pid and start time, so that no other takes its number; the uid that connected, explicitly. */
export interface PolkitSubject {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)), read when it connected. */
  readonly startTimeTicks: string;
  readonly uid: number;
}

/** What polkit is asked about: the rw socket and the read-only one (libvirt's org.libvirt.unix.policy). */
export const polkitActions = {
  manage: 'org.libvirt.unix.manage',
  monitor: 'org.libvirt.unix.monitor',
} as const;

type PolkitAction = (typeof polkitActions)[keyof typeof polkitActions];

/** Who decides about clients of the sockets. */
export interface Authority {
  /** @throws LibvirtError authFailed, authCancelled, authUnavailable: what the client is told */
  check(subject: PolkitSubject, action: PolkitAction): Promise<void>;
}

/** A person may have to find a password. */
const TIMEOUT_MS = 120_000;

const SYSTEM_BUS = '/run/dbus/system_bus_socket';

/** The authority of this host; undefined, with the reason told, where there is none. */
export async function findPolkit(): Promise<
  { readonly authority: Authority } | { readonly missing: string }
> {
  const program = await findProgram('pkcheck');
  if (program === undefined) return { missing: 'the program pkcheck is not installed' };
  if ((await statIfPresent(SYSTEM_BUS)) === undefined) return { missing: 'there is no system bus' };
  return { authority: pkcheck(program) };
}

/** pkcheck(1): status 0 is yes, 1 no, 2 that a person would have to be asked and nobody can, 3 that they said no. */
export function pkcheck(program: string, timeoutMs = TIMEOUT_MS): Authority {
  return {
    async check({ pid, startTimeTicks, uid }, action) {
      const process = `${pid},${startTimeTicks},${uid}`;
      const args = ['--action-id', action, '--process', process, '--allow-user-interaction'];
      const status = await statusOf(program, args, timeoutMs);
      if (status === 0) return;
      if (status === 2)
        throw refusal('authUnavailable', `no polkit agent available to authenticate action '${action}'`);
      if (status === 3) throw refusal('authCancelled', 'user cancelled authentication process');
      throw refusal('authFailed', 'access denied by policy');
    },
  };
}

async function statusOf(program: string, args: readonly string[], timeoutMs: number): Promise<number> {
  try {
    return (await run(program, args, { timeoutMs, okExitCodes: [0, 1, 2, 3] })).exitCode;
  } catch (error) {
    if (!isVirtError(error)) throw error;
    // No answer is a no.
    throw refusal('authFailed', `polkit could not be asked: ${reasonOf(error)}`);
  }
}

function refusal(number: 'authFailed' | 'authCancelled' | 'authUnavailable', detail: string): LibvirtError {
  return new LibvirtError(errorNumber[number], detail, errorDomain.rpc);
}
