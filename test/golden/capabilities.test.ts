/** Capabilities and domain capabilities, from recorded QEMU capabilities and a made-up host. `vitest -u` rewrites. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { parseXml } from '../../src/base/xml/parse.ts';
import { formatXml } from '../../src/base/xml/tree.ts';
import { type CapabilitySources, hostDocuments } from '../../src/drivers/qemu/capabilities.ts';
import type { QemuCapabilities } from '../../src/drivers/qemu/probe/types.ts';
import type { HostFacts } from '../../src/kvm/host-facts.ts';
import type { HostFiles } from '../../src/kvm/host-files.ts';
import type { KvmReport } from '../../src/kvm/report.ts';

const directory = join(import.meta.dirname, 'capabilities');

async function recorded(version: string): Promise<QemuCapabilities> {
  return JSON.parse(await readFile(join(directory, `x86_64-${version}.json`), 'utf8')) as QemuCapabilities;
}

const cpus = [0, 1, 2, 3].map((id) => ({
  id,
  socketId: 0,
  dieId: 0,
  coreId: id >> 1,
  siblings: [id & 2, (id & 2) + 1],
}));

const facts = {
  hostname: 'host',
  kernel: { release: '6.1.0', version: '#1' },
  arch: 'x86_64',
  uuid: { value: '4c4c4544-0051-3610-8051-b4c04f4b4c32', source: 'configured' },
  cpu: { vendor: 'GenuineIntel', family: 6, model: 85, stepping: 7, microcode: '0x5003605', flags: ['vmx'] },
  topology: {
    sockets: 1,
    diesPerSocket: 1,
    coresPerDie: 2,
    threadsPerCore: 2,
    onlineCpus: [0, 1, 2, 3],
    presentCpus: [0, 1, 2, 3],
  },
  cells: [0, 1].map((id) => ({
    id,
    memoryKiB: 8_000_000,
    freeKiB: 1,
    cpus: cpus.slice(id * 2, id * 2 + 2),
    distances: [0, 1].map((cell) => ({ cell, value: cell === id ? 10 : 21 })),
    pages: [
      { sizeKiB: 4, count: 2_000_000, free: 1 },
      { sizeKiB: 2048, count: 16, free: 16 },
    ],
  })),
  pages: [
    { sizeKiB: 4, count: 4_000_000, free: 2 },
    { sizeKiB: 2048, count: 32, free: 32 },
  ],
  memory: { totalKiB: 16_000_000, freeKiB: 2, availableKiB: 2, buffersKiB: 0, cachedKiB: 0 },
  iommuGroups: [0, 1],
} as unknown as HostFacts;

const cacheFile = '/sys/devices/system/cpu/cpu0/cache/index3';
const fileTexts: Readonly<Record<string, string>> = {
  '/sys/power/state': 'freeze mem disk\n',
  '/sys/power/disk': '[platform] shutdown reboot suspend test_resume\n',
  [`${cacheFile}/id`]: '0\n',
  [`${cacheFile}/level`]: '3\n',
  [`${cacheFile}/type`]: 'Unified\n',
  [`${cacheFile}/size`]: '33792K\n',
  [`${cacheFile}/shared_cpu_list`]: '0-3\n',
};
const folders: Readonly<Record<string, readonly string[]>> = {
  '/sys/devices/system/cpu': ['cpu0', 'cpufreq', 'possible'],
  '/sys/devices/system/cpu/cpu0/cache': ['index3', 'uevent'],
};
const hostFiles = {
  read: (path: string) => fileTexts[path],
  list: (path: string) => folders[path] ?? [],
} as unknown as HostFiles;

function sources(capabilities: QemuCapabilities, kvm: boolean): CapabilitySources {
  const path = capabilities.path;
  const report = {
    usable: kvm,
    vcpus: { recommended: 4, max: 240 },
    problem: { reason: 'no /dev/kvm', repair: 'x' },
  };
  return {
    emulators: {
      capabilities: async () => capabilities,
      find: async (arch) => (['x86_64', 'i686'].includes(arch) ? path : undefined),
    },
    hostFacts: async () => facts,
    kvmReport: async () => report as unknown as KvmReport,
    firmwareDirectories: [],
    log: silentLogger,
    findEmulators: async () => [{ path, target: 'x86_64', arch: 'x86_64' }],
    hostFiles,
    findProgram: async (name) => (name === 'swtpm' ? '/usr/bin/swtpm' : undefined),
  };
}

describe.each(['7.2', '10'])('with QEMU %s', (version) => {
  it('tells the capabilities of the host', async () => {
    const xml = await hostDocuments(sources(await recorded(version), true)).capabilitiesXml();
    expect(formatXml(parseXml(xml))).toBe(xml);
    await expect(xml).toMatchFileSnapshot(join(directory, `host-${version}.xml`));
  });

  it.each(['pc', 'q35'])('tells what a %s domain under TCG may contain', async (machine) => {
    const documents = hostDocuments(sources(await recorded(version), false));
    const xml = await documents.domainCapabilitiesXml({ machine });
    await expect(xml).toMatchFileSnapshot(join(directory, `domain-${machine}-qemu-${version}.xml`));
  });

  it('tells what of AMD SEV a domain under KVM may have', async () => {
    const capabilities = await recorded(version);
    const { kvm } = capabilities.accelerators;
    if (kvm === undefined) throw new Error('recorded without KVM');
    const sev = { cbitpos: 51, reducedPhysBits: 1, pdh: 'cGRo', certChain: 'Y2VydA==', cpu0Id: 'Y3B1' };
    const onEpyc = { ...capabilities, accelerators: { ...capabilities.accelerators, kvm: { ...kvm, sev } } };
    const documents = hostDocuments({
      ...sources(onEpyc, true),
      sevLimits: () => ({ maxGuests: 59, maxEsGuests: 450 }),
    });
    const xml = await documents.domainCapabilitiesXml({ machine: 'q35', virtType: 'kvm' });
    expect(xml).toContain(`    <sev supported='yes'>
      <cbitpos>51</cbitpos>
      <reducedPhysBits>1</reducedPhysBits>
      <maxGuests>59</maxGuests>
      <maxESGuests>450</maxESGuests>
      <cpu0Id>Y3B1</cpu0Id>
    </sev>
`);
    expect(/<launchSecurity .*<\/launchSecurity>/s.exec(xml)?.[0].match(/<value>.*?<\/value>/g)).toEqual(
      ['sev', ...(version === '10' ? ['sev-snp'] : [])].map((kind) => `<value>${kind}</value>`),
    );
    const emulated = await documents.domainCapabilitiesXml({ machine: 'q35', virtType: 'qemu' });
    expect(emulated).toContain(`<sev supported='no'/>`);
    expect(emulated).not.toContain('launchSecurity');
  });

  it('tells what a domain under KVM may contain', async () => {
    const documents = hostDocuments(sources(await recorded(version), true));
    const xml = await documents.domainCapabilitiesXml({ machine: 'q35', virtType: 'kvm' });
    await expect(xml).toMatchFileSnapshot(join(directory, `domain-q35-kvm-${version}.xml`));
  });
});

describe('domain capabilities', () => {
  it.each([
    [{ virtType: 'kvm' }, 'kvm.unusable'],
    [{ virtType: 'xen' }, 'request.invalid'],
    [{ machine: 'virt' }, 'qemu.lacks'],
    [{ machine: 'none' }, 'qemu.lacks'],
    [{ arch: 's390x' }, 'qemu.missing'],
    [{ arch: 's390x', emulator: '/usr/bin/qemu-system-x86_64' }, 'qemu.lacks'],
  ])('for %j are refused', async (query, code) => {
    const documents = hostDocuments(sources(await recorded('7.2'), false));
    await expect(documents.domainCapabilitiesXml(query)).rejects.toMatchObject({ code });
  });

  it('are for KVM where that works, else for TCG, and for 32-bit guests of a 64-bit emulator', async () => {
    const capabilities = await recorded('7.2');
    const withKvm = await hostDocuments(sources(capabilities, true)).domainCapabilitiesXml({ arch: 'i686' });
    expect(withKvm).toContain('<domain>kvm</domain>');
    expect(withKvm).toContain('<arch>i686</arch>');
    expect(await hostDocuments(sources(capabilities, false)).domainCapabilitiesXml({})).toContain(
      '<domain>qemu</domain>',
    );
  });
});
