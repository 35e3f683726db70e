import { describe, expect, it } from 'vitest';
import {
  type CheckContext,
  findVersion,
  installHint,
  isAtLeast,
  type ProgramAnswer,
} from '../../../../src/daemon/host-check/check.ts';
import { runChecks } from '../../../../src/daemon/host-check/host-check.ts';
import type { CheckedNetwork } from '../../../../src/daemon/host-check/networks.ts';
import type { KvmReport } from '../../../../src/kvm/report.ts';
import { type RecordedHost, recordedFiles } from '../../../support/recorded-files.ts';

const kvm: KvmReport = {
  usable: true,
  device: '/dev/kvm',
  arch: 'x86_64',
  apiVersion: 12,
  extensions: {},
  vcpus: { recommended: 8, max: 1024 },
  vcpuMmapBytes: 12288,
  cpu: { vendor: 'GenuineIntel', flag: 'vmx', underHypervisor: false },
  module: { name: 'kvm_intel', loaded: true, nested: true },
};

/** An active network, as it is on a healthy host. */
const lab: CheckedNetwork = {
  name: 'lab',
  bridge: 'virbr7',
  mode: 'nat',
  gateways: ['192.168.7.1'],
  pidFile: '/run/vireo/network/lab.pid',
  resolver: { domain: 'lab.test', server: '192.168.7.1' },
};
const routed: CheckedNetwork = { ...lab, mode: 'route' };

/** What programs of a healthy Debian 12 print. */
const debian: Readonly<Record<string, string>> = {
  '/usr/bin/qemu-system-x86_64 --version': 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n',
  '/usr/bin/qemu-img --version': 'qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n',
  '/usr/bin/dnsmasq --version': 'Dnsmasq version 2.90  Copyright (c) 2000-2024 Simon Kelley\n',
  '/usr/bin/setpriv --version': 'setpriv from util-linux 2.38.1\n',
  '/usr/bin/prlimit --version': 'prlimit from util-linux 2.38.1\n',
  '/usr/bin/swtpm --version': 'TPM emulator version 0.7.1\n',
  '/usr/bin/virtiofsd --version': 'virtiofsd 1.5.0\n',
  'nft list tables': '',
  'nft -j list chains': '{"nftables": []}',
  'iptables -w -t nat -S': '-P PREROUTING ACCEPT\n',
  'iptables --version': 'iptables v1.8.9 (nf_tables)\n',
  'iptables -w -S': '-P INPUT ACCEPT\n-P FORWARD ACCEPT\n',
  'nft list table ip libvirt_network': 'chain guest_input { oifname "virbr7" counter reject }',
  'ss -Hlntup ( sport = :53 or sport = :67 )': [
    'udp UNCONN 0 0 192.168.7.1%virbr7:53 0.0.0.0:* users:(("dnsmasq",pid=70,fd=5))',
    'udp UNCONN 0 0 0.0.0.0%virbr7:67 0.0.0.0:* users:(("dnsmasq",pid=70,fd=3))',
    'tcp LISTEN 0 32 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=9,fd=3))',
  ].join('\n'),
  'resolvectl domain virbr7': 'Link 7 (virbr7): ~lab.test ~7.168.192.in-addr.arpa\n',
};

const healthyFiles = {
  '/etc/os-release': 'ID=debian\n',
  '/usr/bin/qemu-system-x86_64': '',
  '/usr/share/qemu/firmware/50-edk2.json': '{}',
  '/sys/kernel/iommu_groups/0/type': 'DMA\n',
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/sys/class/net/virbr7/flags': '0x1003\n',
  '/sys/class/net/virbr7/bridge/stp_state': '0\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '2\n',
  '/run/vireo/network/lab.pid': '70\n',
  '/proc/70/cmdline': '/usr/sbin/dnsmasq\0--conf-file=lab.conf\0',
  '/run/systemd/resolve/stub-resolv.conf': '',
  '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory hugetlb pids\n',
  '/proc/self/cgroup': '0::/system.slice/vireod.service\n',
  '/run/systemd/system/x': '',
  '/proc/self/uid_map': '         0          0 4294967295\n',
  '/etc/passwd': 'root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n',
  '/proc/self/ns/user': '',
  '/proc/self/limits': 'Max open files            1024                 524288               files     \n',
};

interface Host {
  readonly files?: Record<string, string | undefined>;
  readonly nodes?: RecordedHost['nodes'];
  readonly programs?: Readonly<Record<string, string | ProgramAnswer | undefined>>;
  readonly errnos?: Readonly<Record<string, string>>;
  readonly context?: Partial<CheckContext>;
}

/** A healthy host with changes; undefined takes a file or a program away. */
function contextOf(host: Host): CheckContext {
  const programs: Record<string, string | ProgramAnswer | undefined> = { ...debian, ...host.programs };
  const files = Object.entries({ ...healthyFiles, ...host.files }).filter(([, text]) => text !== undefined);
  const present = new Set(
    Object.entries(programs).flatMap(([line, answer]) => (answer === undefined ? [] : [line.split(' ')[0]])),
  );
  return {
    mode: 'system',
    files: recordedFiles({
      files: Object.fromEntries(files) as Record<string, string>,
      ...(host.nodes && { nodes: host.nodes }),
    }),
    identity: { uid: 0, gids: [0] },
    arch: 'x86_64',
    kvm,
    directories: [],
    guestUids: { first: 1_900_000_000, count: 65_536 },
    networks: [lab],
    unprotectedAddresses: [],
    findProgram: async (name) =>
      [name, `/usr/bin/${name}`].find((path) => path.startsWith('/') && present.has(path)),
    ask: async (program, args) => {
      const answer = programs[[program, ...args].join(' ')];
      if (answer === undefined) return { ok: false, missing: true, reason: `${program} is not installed` };
      return typeof answer === 'string' ? { ok: true, stdout: answer, stderr: '' } : answer;
    },
    tryOpen: (path) => host.errnos?.[path],
    ...host.context,
  };
}

async function check(id: string, host: Host = {}) {
  const found = (await runChecks(contextOf(host))).find((entry) => entry.id === id);
  if (found === undefined) throw new Error(`there is no check '${id}'`);
  return found;
}

const refused: ProgramAnswer = { ok: false, missing: false, reason: 'Operation not permitted' };

describe('a healthy host', () => {
  it('passes every check', async () => {
    const checks = await runChecks(contextOf({}));
    expect(checks.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
  });

  it('shows versions', async () => {
    expect((await check('qemu')).detail).toBe('/usr/bin/qemu-system-x86_64 7.2.22');
    expect((await check('dnsmasq')).detail).toBe('/usr/bin/dnsmasq 2.90');
  });
});

/** One row per finding: check, host, status, words of the detail, words of the repair. */
const findings: readonly (readonly [
  id: string,
  title: string,
  host: Host,
  string,
  RegExp,
  RegExp | undefined,
])[] = [
  [
    'kvm',
    'an unusable KVM',
    {
      context: {
        kvm: {
          ...kvm,
          usable: false,
          problem: { code: 'module-not-loaded', reason: 'no module', repair: 'modprobe kvm_intel' },
        },
      },
    },
    'problem',
    /no module; guests run under emulation/,
    /modprobe kvm_intel/,
  ],
  [
    'kvm',
    'a node for root only',
    { nodes: { '/dev/kvm': { isCharacterDevice: true, mode: 0o600, uid: 0, gid: 0 } } },
    'problem',
    /open to root only/,
    /chgrp kvm/,
  ],
  [
    'nested',
    'nesting off',
    { context: { kvm: { ...kvm, module: { ...kvm.module, nested: false } } } },
    'absent',
    /switched off/,
    /nested=1/,
  ],
  [
    'iommu',
    'no IOMMU',
    { files: { '/sys/kernel/iommu_groups/0/type': undefined } },
    'absent',
    /no IOMMU/,
    /intel_iommu=on/,
  ],
  [
    'qemu',
    'no QEMU',
    { files: { '/usr/bin/qemu-system-x86_64': undefined } },
    'problem',
    /no qemu-system-x86_64/,
    /apt-get install qemu-system-x86/,
  ],
  [
    'qemu',
    'an old QEMU',
    { programs: { '/usr/bin/qemu-system-x86_64 --version': 'QEMU emulator version 5.2.0' } },
    'problem',
    /older than 6\.2/,
    /6\.2 or newer/,
  ],
  [
    'qemu',
    'a QEMU that does not run',
    { programs: { '/usr/bin/qemu-system-x86_64 --version': refused } },
    'problem',
    /cannot be run/,
    /apt-get/,
  ],
  [
    'qemu-img',
    'no qemu-img',
    { programs: { '/usr/bin/qemu-img --version': undefined } },
    'problem',
    /not installed/,
    /apt-get install qemu-utils/,
  ],
  [
    'dnsmasq',
    'no dnsmasq for a session',
    { programs: { '/usr/bin/dnsmasq --version': undefined }, context: { mode: 'session' } },
    'absent',
    /not installed/,
    /dnsmasq-base/,
  ],
  ['swtpm', 'no swtpm', { programs: { '/usr/bin/swtpm --version': undefined } }, 'absent', /TPM/, /swtpm/],
  [
    'efi-firmware',
    'no firmware',
    { files: { '/usr/share/qemu/firmware/50-edk2.json': undefined } },
    'absent',
    /efi/,
    /ovmf/,
  ],
  [
    'vhost-net',
    'no vhost-net',
    { errnos: { '/dev/vhost-net': 'ENOENT' } },
    'warning',
    /slower/,
    /modprobe vhost_net/,
  ],
  [
    'tun',
    'a forbidden tun',
    { errnos: { '/dev/net/tun': 'EPERM' } },
    'problem',
    /may not be opened/,
    /DeviceAllow=\/dev\/net\/tun/,
  ],
  [
    'tun',
    'no tun for a session',
    {
      errnos: { '/dev/net/tun': 'EACCES' },
      context: { mode: 'session', identity: { uid: 1000, gids: [1000] } },
    },
    'absent',
    /user-mode/,
    /qemu:\/\/\/system/,
  ],
  [
    'firewall',
    'no backend',
    { programs: { 'nft list tables': undefined, 'iptables -w -t nat -S': undefined } },
    'problem',
    /no nft; no iptables/,
    /nftables/,
  ],
  [
    'firewall',
    'backends that do not work',
    { programs: { 'nft list tables': refused, 'iptables -w -t nat -S': refused } },
    'problem',
    /nft does not work here/,
    /modprobe nf_tables/,
  ],
  [
    'firewall',
    'only iptables',
    { programs: { 'nft list tables': refused } },
    'ok',
    /nft does not work here \(Operation not permitted\); iptables works \(nf_tables\)/,
    undefined,
  ],
  [
    'forward-policy',
    "Docker's policy",
    { programs: { 'iptables -w -S': '-P FORWARD DROP\n-N DOCKER-USER\n' } },
    'warning',
    /Docker/,
    /DOCKER-USER/,
  ],
  [
    'forward-policy',
    'a dropping nft chain',
    {
      programs: {
        'nft -j list chains':
          '{"nftables": [{"metainfo": {}}, {"chain": {"family": "inet", "table": "mine", "name": "fwd", "hook": "forward", "policy": "drop"}}]}',
      },
    },
    'warning',
    /nft chain inet mine fwd.*guests on any bridge/,
    /nft insert rule inet mine fwd iifname BRIDGE accept/,
  ],
  [
    'forward-policy',
    'an nft without JSON',
    { programs: { 'nft -j list chains': 'table inet x' } },
    'ok',
    /accepting/,
    undefined,
  ],
  [
    'forward-policy',
    "ufw's policy",
    { programs: { 'iptables -w -S': '-P FORWARD DROP\n-N ufw-user-forward\n' } },
    'warning',
    /ufw is here: Vireo's own networks/,
    /^ufw route allow in on BRIDGE/,
  ],
  [
    'ip-forward',
    'what networks switched on',
    {
      files: { '/run/before.json': '{"format":1,"before":{"ipv4/ip_forward":"0"}}\n' },
      context: { settingsBefore: '/run/before.json' },
    },
    'ok',
    /on by Vireo's networks, which put back after the last: ipv4\/ip_forward was 0/,
    undefined,
  ],
  [
    'ip-forward',
    'forwarding off under a running network',
    { files: { '/proc/sys/net/ipv4/ip_forward': '0\n' } },
    'problem',
    /guests on 'lab' reach nobody/,
    /vireo network reload lab/,
  ],
  [
    'network-bridges',
    'a bridge that is gone',
    { files: { '/sys/class/net/virbr7/bridge/stp_state': undefined } },
    'problem',
    /virbr7 of 'lab' is gone/,
    /vireo network reload lab/,
  ],
  [
    'network-bridges',
    'a bridge that is down',
    { files: { '/sys/class/net/virbr7/flags': '0x1002\n' } },
    'problem',
    /virbr7 of 'lab' is down/,
    /vireo network reload lab/,
  ],
  [
    'bridge-netfilter',
    'bridged frames that go through iptables',
    { files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': '1\n' } },
    'warning',
    /bridge-nf-call-iptables\)/,
    /sysctl net\.bridge\.bridge-nf-call-iptables=0/,
  ],
  [
    'bridge-netfilter',
    'br_netfilter switched off',
    { files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': '0\n' } },
    'ok',
    /switched off/,
    undefined,
  ],
  [
    'reverse-path',
    'a strict filter on a routed network',
    {
      files: {
        '/proc/sys/net/ipv4/conf/virbr7/rp_filter': '1\n',
        '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
      },
      context: { networks: [routed] },
    },
    'warning',
    /strict on routed networks \('lab'\)/,
    /rp_filter=2/,
  ],
  [
    'network-rules',
    'rules that were flushed',
    { programs: { 'nft list table ip libvirt_network': refused } },
    'problem',
    /missing for 'lab'/,
    /vireo network reload lab/,
  ],
  [
    'network-rules',
    "rules in iptables' chains",
    {
      programs: {
        'nft list table ip libvirt_network': refused,
        'iptables -w -S LIBVIRT_FWI': '-A LIBVIRT_FWI -o virbr7 -j REJECT\n',
      },
    },
    'ok',
    /in place for 'lab'/,
    undefined,
  ],
  [
    'network-servers',
    'a dnsmasq that has ended',
    { files: { '/proc/70/cmdline': undefined } },
    'problem',
    /no dnsmasq runs for 'lab'/,
    /vireo network reload lab/,
  ],
  [
    'server-ports',
    'another dnsmasq and a named on all addresses',
    {
      programs: {
        'ss -Hlntup ( sport = :53 or sport = :67 )':
          'udp UNCONN 0 0 0.0.0.0:67 0.0.0.0:* users:(("dnsmasq",pid=71,fd=5))\ntcp LISTEN 0 10 [::]:53 [::]:* users:(("named",pid=72,fd=5))\n',
      },
    },
    'warning',
    /dnsmasq has DHCP on 0\.0\.0\.0:67; named has DNS on \[::\]:53/,
    /except-interface=virbr\*.*listen-on/,
  ],
  [
    'server-ports',
    'a server of its own whose process the daemon may not look at',
    {
      programs: { 'ss -Hlntup ( sport = :53 or sport = :67 )': 'udp UNCONN 0 0 192.168.7.1:53 0.0.0.0:*\n' },
    },
    'ok',
    /nobody else/,
    undefined,
  ],
  [
    'server-ports',
    "a server of others on the network's own address",
    {
      files: { '/proc/70/cmdline': undefined },
      programs: { 'ss -Hlntup ( sport = :53 or sport = :67 )': 'udp UNCONN 0 0 192.168.7.1:53 0.0.0.0:*\n' },
    },
    'warning',
    /a program that cannot be seen has DNS on 192\.168\.7\.1:53/,
    /its own addresses/,
  ],
  [
    'network-names',
    'a domain that systemd-resolved has forgotten',
    { programs: { 'resolvectl domain virbr7': 'Link 7 (virbr7):\n' } },
    'warning',
    /does not know the domain of 'lab'/,
    /resolvectl dns virbr7 192\.168\.7\.1; resolvectl domain virbr7 '~lab\.test'/,
  ],
  [
    'network-names',
    'no systemd-resolved',
    { files: { '/run/systemd/resolve/stub-resolv.conf': undefined } },
    'absent',
    /looks up no names of 'lab'/,
    /server=\/lab\.test\/192\.168\.7\.1/,
  ],
  [
    'ip-forward',
    'forwarding off',
    { files: { '/proc/sys/net/ipv4/ip_forward': '0\n' }, context: { networks: [] } },
    'warning',
    /off/,
    /sysctl/,
  ],
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
];

describe('runChecks', () => {
  it.each(findings)('%s: tells of %s', async (id, _title, host, status, detail, repair) => {
    const found = await check(id, host);
    expect(found.status).toBe(status);
    expect(found.detail).toMatch(detail);
    if (repair === undefined) expect(found.repair).toBeUndefined();
    else expect(found.repair).toMatch(repair);
  });
});

describe('helpers', () => {
  it('compares versions by their numbers', () => {
    expect(isAtLeast('10.0.13', '6.2')).toBe(true);
    expect(isAtLeast('6.2', '6.2')).toBe(true);
    expect(isAtLeast('6.1.9', '6.2')).toBe(false);
  });

  it('finds a version among words', () => {
    expect(findVersion('swtpm version 0.7.1, Copyright')).toBe('0.7.1');
    expect(findVersion('nothing')).toBeUndefined();
  });

  it('names a command only where it is sure of it', () => {
    const files = recordedFiles({ files: { '/etc/os-release': 'ID=fedora\n' } });
    expect(installHint(files, 'swtpm')).toContain("Debian's 'swtpm'");
    const ubuntu = recordedFiles({ files: { '/etc/os-release': 'ID=ubuntu\nID_LIKE=debian\n' } });
    expect(installHint(ubuntu, 'swtpm')).toBe('apt-get install swtpm');
  });
});

it('tells that doors without a lock are a problem, and where they are', async () => {
  const checks = await runChecks(contextOf({ context: { unprotectedAddresses: ['10.0.0.1:16509'] } }));
  const found = checks.find(({ id }) => id === 'tcp-without-protection');
  expect(found?.status).toBe('problem');
  expect(found?.detail).toContain('whoever reaches 10.0.0.1:16509 by qemu+tcp:// may do what root may');
});
