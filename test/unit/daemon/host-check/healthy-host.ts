/** A healthy Debian host that a test changes, and what the checks then say. */
import { expect, it } from 'vitest';
import type { CheckContext, ProgramAnswer } from '../../../../src/daemon/host-check/check.ts';
import { runChecks } from '../../../../src/daemon/host-check/host-check.ts';
import type { CheckedNetwork } from '../../../../src/daemon/host-check/networks.ts';
import type { KvmReport } from '../../../../src/kvm/report.ts';
import { type RecordedHost, recordedFiles } from '../../../support/recorded-files.ts';

/** As `/dev/kvm` tells it there. */
export const kvm: KvmReport = {
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
export const lab: CheckedNetwork = {
  name: 'lab',
  bridge: 'virbr7',
  mode: 'nat',
  gateways: ['192.168.7.1'],
  pidFile: '/run/vireo/network/lab.pid',
  resolver: { domain: 'lab.test', server: '192.168.7.1' },
};
export const routed: CheckedNetwork = { ...lab, mode: 'route' };

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

/** What is other than on a healthy host; undefined takes a file or a program away. */
export interface Host {
  readonly files?: Record<string, string | undefined>;
  readonly nodes?: RecordedHost['nodes'];
  readonly programs?: Readonly<Record<string, string | ProgramAnswer | undefined>>;
  readonly errnos?: Readonly<Record<string, string>>;
  readonly context?: Partial<CheckContext>;
}

/** A healthy host with changes. */
export function contextOf(host: Host): CheckContext {
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

/** What one check says of it. */
export async function check(id: string, host: Host = {}) {
  const found = (await runChecks(contextOf(host))).find((entry) => entry.id === id);
  if (found === undefined) throw new Error(`there is no check '${id}'`);
  return found;
}

/** A program that is there and fails. */
export const refused: ProgramAnswer = { ok: false, missing: false, reason: 'Operation not permitted' };

/** Check, host, status, words of the detail, words of the repair. */
type Finding = readonly [
  id: string,
  title: string,
  host: Host,
  status: string,
  detail: RegExp,
  repair: RegExp | undefined,
];

/** One test a finding. */
export function tellsOf(findings: readonly Finding[]): void {
  it.each(findings)('%s: tells of %s', async (id, _title, host, status, detail, repair) => {
    const found = await check(id, host);
    expect(found.status).toBe(status);
    expect(found.detail).toMatch(detail);
    if (repair === undefined) expect(found.repair).toBeUndefined();
    else expect(found.repair).toMatch(repair);
  });
}
