/** Checks of what the operating system gives the daemon: cgroups, systemd, user ids, limits, directories. */
import type { CheckContext, HostCheck, StateDirectory, UidRange } from './check.ts';

/** Controllers by which guests are limited. */
const wantedControllers = ['cpu', 'cpuset', 'io', 'memory', 'pids'];

export function checkCgroups(context: CheckContext): HostCheck {
  const base = { id: 'cgroups', title: 'Control groups' };
  const unified = context.files.read('/sys/fs/cgroup/cgroup.controllers');
  if (unified === undefined) return checkOldCgroups(context);
  const here = ownCgroup(context);
  const controllers = (context.files.read(`${here}/cgroup.controllers`) ?? unified).trim().split(/\s+/);
  const missing = wantedControllers.filter((name) => !controllers.includes(name));
  const detail = `version 2, controllers ${controllers.filter((name) => name !== '').join(' ') || 'none'}`;
  if (missing.length === 0) return { ...base, status: 'ok', detail };
  return {
    ...base,
    status: 'warning',
    detail: `${detail}; missing here: ${missing.join(' ')}`,
    repair:
      context.mode === 'session'
        ? 'delegate them: systemctl edit user@.service, with [Service] Delegate=cpu cpuset io memory pids'
        : 'run the daemon by its systemd unit (Delegate=yes)',
  };
}

/** The directory of this process's group in the unified hierarchy. */
function ownCgroup({ files }: CheckContext): string {
  const path = /^0::(\/.*)$/m.exec(files.read('/proc/self/cgroup') ?? '')?.[1] ?? '/';
  return `/sys/fs/cgroup${path === '/' ? '' : path}`;
}

function checkOldCgroups({ files }: CheckContext): HostCheck {
  const base = { id: 'cgroups', title: 'Control groups' };
  const hierarchies = files.list('/sys/fs/cgroup');
  if (hierarchies.length === 0) {
    return { ...base, status: 'warning', detail: 'not mounted: limits on guests cannot be set' };
  }
  const hybrid = files.exists('/sys/fs/cgroup/unified/cgroup.controllers');
  return {
    ...base,
    status: 'warning',
    detail: `version 1${hybrid ? ' (hybrid)' : ''}: limits on guests need version 2`,
    repair: 'boot with systemd.unified_cgroup_hierarchy=1',
  };
}

export function checkSystemd(context: CheckContext): HostCheck {
  const base = { id: 'systemd', title: 'systemd' };
  if (!context.files.exists('/run/systemd/system')) {
    return {
      ...base,
      status: 'absent',
      detail: 'not the init system here: start the daemon by hand or by your own init',
    };
  }
  if (context.mode === 'system') return { ...base, status: 'ok', detail: 'running' };
  return checkLingering(context);
}

/** systemd ends a user's services at logout, guests of the session daemon included, unless the user lingers. */
function checkLingering({ files, identity }: CheckContext): HostCheck {
  const base = { id: 'systemd', title: 'systemd' };
  const user = userName(files.read('/etc/passwd') ?? '', identity.uid);
  if (files.exists(`/var/lib/systemd/linger/${user}`))
    return { ...base, status: 'ok', detail: `running; guests of ${user} go on after logout (lingering)` };
  return {
    ...base,
    status: 'warning',
    detail: `running; guests of ${user} are ended at logout`,
    repair: `loginctl enable-linger ${user}`,
  };
}

function userName(passwd: string, uid: number): string {
  const row = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => Number(fields[2]) === uid);
  return row?.[0] ?? String(uid);
}

/** Guests get user ids of their own: these must exist in this user namespace and belong to nobody else. */
export function checkGuestUids({ files, mode, guestUids }: CheckContext): HostCheck {
  const base = { id: 'guest-uids', title: 'User ids for guests' };
  if (mode === 'session' || guestUids === undefined)
    return { ...base, status: 'absent', detail: "guests run under the daemon's own user" };
  const detail = `${guestUids.first} to ${guestUids.first + guestUids.count - 1}`;
  if (!isMapped(files.read('/proc/self/uid_map') ?? '', guestUids)) {
    return {
      ...base,
      status: 'problem',
      detail: `${detail} do not exist in this container's user namespace`,
      repair: 'give the container more user ids, or set another range in vireod.toml',
    };
  }
  const owner = overlap(files.read('/etc/passwd') ?? '', files.read('/etc/subuid') ?? '', guestUids);
  if (owner === undefined) return { ...base, status: 'ok', detail };
  return {
    ...base,
    status: 'problem',
    detail: `${detail} overlap with ${owner}`,
    repair: 'set another range in vireod.toml',
  };
}

/** user_namespaces(7): each line is first id inside, first id outside, count. */
function isMapped(map: string, { first, count }: UidRange): boolean {
  return map.split('\n').some((line) => {
    const [inside = Number.NaN, , length = 0] = line.trim().split(/\s+/).map(Number);
    return inside <= first && first + count <= inside + length;
  });
}

function overlap(passwd: string, subuid: string, { first, count }: UidRange): string | undefined {
  const users = passwd.split('\n').map((line) => line.split(':'));
  const user = users.find(([, , uid]) => uid && Number(uid) >= first && Number(uid) < first + count);
  if (user) return `user '${user[0]}' (/etc/passwd)`;
  const ranges = subuid.split('\n').map((line) => line.split(':'));
  const range = ranges.find(
    ([, start, length]) =>
      start && Number(start) < first + count && first < Number(start) + Number(length ?? 0),
  );
  return range && `the subordinate ids of '${range[0]}' (/etc/subuid)`;
}

export function checkUserNamespaces({ files }: CheckContext): HostCheck {
  const base = { id: 'user-namespaces', title: 'User namespaces (virtiofsd without root)' };
  const most = files.read('/proc/sys/user/max_user_namespaces')?.trim();
  const debian = files.read('/proc/sys/kernel/unprivileged_userns_clone')?.trim();
  const apparmor = files.read('/proc/sys/kernel/apparmor_restrict_unprivileged_userns')?.trim();
  if (!files.exists('/proc/self/ns/user') || most === '0' || debian === '0') {
    return {
      ...base,
      status: 'absent',
      detail: 'switched off',
      repair: 'sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000',
    };
  }
  const detail = apparmor === '1' ? 'on, restricted by AppArmor (Ubuntu)' : 'on';
  return { ...base, status: 'ok', detail };
}

/** A guest needs some 30 descriptors in the daemon at its start, and its QEMU more with each disk and NIC. */
const LEAST_OPEN_FILES = 4096;

export function checkLimits({ files }: CheckContext): HostCheck {
  const base = { id: 'limits', title: 'Limits on files and processes' };
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(files.read('/proc/self/limits') ?? '')?.[1];
  const read = (name: string): string => files.read(`/proc/sys/${name}`)?.trim() ?? '?';
  const detail = `open files ${limit ?? '?'} (hard), fs.file-max ${read('fs/file-max')}, fs.aio-max-nr ${read('fs/aio-max-nr')}, fs.inotify.max_user_instances ${read('fs/inotify/max_user_instances')}, kernel.pid_max ${read('kernel/pid_max')}`;
  if (limit !== undefined && limit !== 'unlimited' && Number(limit) < LEAST_OPEN_FILES) {
    return {
      ...base,
      status: 'warning',
      detail,
      repair: `raise the limit on open files to ${LEAST_OPEN_FILES} or more (LimitNOFILE= in the unit, ulimit -Hn)`,
    };
  }
  return { ...base, status: 'ok', detail };
}

/** The daemon's own directories: present, its own, and not open to more users than they should be. */
export function checkDirectories({ files, identity, directories }: CheckContext): HostCheck {
  const base = { id: 'directories', title: 'State directories' };
  const findings = directories.flatMap((directory) => {
    const stat = files.stat(directory.path);
    if (stat === undefined) return [{ directory, finding: `${directory.path} is not there` }];
    if (stat.uid !== identity.uid)
      return [{ directory, finding: `${directory.path} belongs to user ${stat.uid}` }];
    const surplus = stat.mode & ~directory.mode & 0o777;
    return surplus === 0
      ? []
      : [
          {
            directory,
            finding: `${directory.path} has mode ${octal(stat.mode)}, not ${octal(directory.mode)}`,
          },
        ];
  });
  if (findings.length === 0) return { ...base, status: 'ok', detail: describe(directories) };
  const first = findings[0]?.directory;
  return {
    ...base,
    status: 'problem',
    detail: findings.map(({ finding }) => finding).join('; '),
    ...(first && {
      repair: `install -d -o ${identity.uid} -m ${octal(first.mode)} ${first.path}, and the same for the others; or restart the daemon, which makes them`,
    }),
  };
}

function describe(directories: readonly StateDirectory[]): string {
  return directories.map(({ purpose, path }) => `${purpose} ${path}`).join(', ') || 'none';
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
