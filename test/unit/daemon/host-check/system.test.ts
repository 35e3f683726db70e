/** What the check of the host says of control groups, systemd, users, limits and directories. */
import { describe } from 'vitest';
import { tellsOf } from './healthy-host.ts';

describe('the check of the system', () => {
  tellsOf([
    [
      'cgroups',
      'missing controllers',
      { files: { '/sys/fs/cgroup/system.slice/vireod.service/cgroup.controllers': 'memory pids\n' } },
      'warning',
      /missing here: cpu cpuset io/,
      /Delegate=yes/,
    ],
    [
      'cgroups',
      'a hybrid hierarchy',
      {
        files: {
          '/sys/fs/cgroup/cgroup.controllers': undefined,
          '/sys/fs/cgroup/unified/cgroup.controllers': '\n',
        },
      },
      'warning',
      /version 1 \(hybrid\)/,
      /unified_cgroup_hierarchy/,
    ],
    [
      'systemd',
      'a session without lingering',
      { context: { mode: 'session', identity: { uid: 1000, gids: [1000] } } },
      'warning',
      /ended at logout/,
      /enable-linger anna/,
    ],
    [
      'systemd',
      'another init',
      { files: { '/run/systemd/system/x': undefined } },
      'absent',
      /not the init system/,
      undefined,
    ],
    [
      'guest-uids',
      'a narrow user namespace',
      { files: { '/proc/self/uid_map': '0 100000 65536\n' } },
      'problem',
      /do not exist/,
      /another range/,
    ],
    [
      'guest-uids',
      'a user in the range',
      { files: { '/etc/passwd': 'eve:x:1900000007:1::/:/bin/sh\n' } },
      'problem',
      /user 'eve'/,
      /another range/,
    ],
    [
      'guest-uids',
      'subordinate ids in the range',
      { files: { '/etc/subuid': 'bob:1899999999:65536\n' } },
      'problem',
      /subordinate ids of 'bob'/,
      /another range/,
    ],
    [
      'user-namespaces',
      'none',
      { files: { '/proc/sys/user/max_user_namespaces': '0\n' } },
      'absent',
      /switched off/,
      /sysctl/,
    ],
    [
      'limits',
      'few open files',
      { files: { '/proc/self/limits': 'Max open files  1024  1024  files\n' } },
      'warning',
      /open files 1024/,
      /LimitNOFILE/,
    ],
    [
      'directories',
      'a directory that is too open',
      {
        nodes: { '/etc/vireo': { isCharacterDevice: false, mode: 0o755, uid: 0, gid: 0 } },
        context: { directories: [{ purpose: 'definitions', path: '/etc/vireo', mode: 0o700 }] },
      },
      'problem',
      /mode 0755, not 0700/,
      /install -d -o 0 -m 0700 \/etc\/vireo/,
    ],
  ]);
});
