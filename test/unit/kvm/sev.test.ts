/** What a host says of AMD SEV, by its files, and how many guests KVM has room for. */
import { describe, expect, it } from 'vitest';
import { sevGroupsOf, sevLimitsOf, sevProblem } from '../../../src/kvm/sev.ts';
import { recordedFiles } from '../../support/recorded-files.ts';

const cpuInfo = (flags: string, vendor = 'AuthenticAMD'): string =>
  `processor\t: 0\nvendor_id\t: ${vendor}\nflags\t\t: fpu svm ${flags}\n\n`;

const epyc = {
  '/proc/cpuinfo': cpuInfo('sme sev sev_es sev_snp'),
  '/sys/module/kvm_amd/parameters/sev': 'Y\n',
  '/sys/module/kvm_amd/parameters/sev_es': 'Y\n',
  '/sys/module/kvm_amd/parameters/sev_snp': 'N\n',
};
const node = { isCharacterDevice: true, mode: 0o20660, uid: 0, gid: 105 };

function problem(
  change: {
    readonly files?: Readonly<Record<string, string | undefined>>;
    readonly node?: Partial<typeof node> | null;
    readonly generation?: 'sev' | 'sev_es' | 'sev_snp';
    readonly arch?: string;
    readonly guestsUnprivileged?: boolean;
  } = {},
) {
  const texts = Object.entries({ ...epyc, ...change.files }).filter(([, text]) => text !== undefined);
  const files = recordedFiles({
    files: Object.fromEntries(texts) as Record<string, string>,
    ...(change.node !== null && { nodes: { '/dev/sev': { ...node, ...change.node } } }),
  });
  return sevProblem(files, change.generation ?? 'sev', {
    arch: change.arch ?? 'x86_64',
    guestsUnprivileged: change.guestsUnprivileged ?? true,
  });
}

describe('a host of AMD', () => {
  it('has what its kernel has switched on', () => {
    expect(problem()).toBeUndefined();
    expect(problem({ generation: 'sev_es' })).toBeUndefined();
    expect(problem({ files: { '/sys/module/kvm_amd/parameters/sev': '1\n' } })).toBeUndefined();
  });

  it.each([
    ['another vendor', { files: { '/proc/cpuinfo': cpuInfo('', 'GenuineIntel') } }, /AMD/, /EPYC/],
    ['another architecture', { arch: 'aarch64' }, /AMD/, /EPYC/],
    ['a virtual machine', { files: { '/proc/cpuinfo': cpuInfo('hypervisor') } }, /virtual machine/, /EPYC/],
    ['the firmware', { files: { '/proc/cpuinfo': cpuInfo('sme') } }, /does not show SEV/, /SMEE/],
    [
      'no module',
      {
        files: Object.fromEntries(
          Object.keys(epyc).map((path) => [path, path.startsWith('/sys') ? undefined : cpuInfo('sev')]),
        ),
      },
      /kvm_amd is not loaded/,
      /modprobe kvm_amd/,
    ],
    ['a switch', { generation: 'sev_snp' as const }, /SEV-SNP is switched off/, /kvm_amd sev_snp=1/],
    [
      'an old kernel',
      { generation: 'sev_snp' as const, files: { '/sys/module/kvm_amd/parameters/sev_snp': undefined } },
      /knows no SEV-SNP/,
      /6\.11/,
    ],
    ['no secure processor', { node: null }, /\/dev\/sev is not there/, /modprobe ccp/],
    ['a node for root only', { node: { mode: 0o20600, gid: 0 } }, /open to root only/, /chgrp sev/],
    ['a node whose group is root', { node: { gid: 0 } }, /open to root only/, /udev/],
  ])('has none for %s, and says what repairs it', (_, change, reason, repair) => {
    const found = problem(change);
    expect(found?.reason).toMatch(reason);
    expect(found?.repair).toMatch(repair);
  });

  it("opens root's node for guests that run as the daemon's user", () => {
    expect(problem({ node: { mode: 0o20600, gid: 0 }, guestsUnprivileged: false })).toBeUndefined();
  });
});

it('gives guests the group of the node, where that helps', () => {
  expect(sevGroupsOf({ mode: 0o20660, gid: 105 })).toEqual([105]);
  expect(sevGroupsOf({ mode: 0o20666, gid: 0 })).toEqual([]);
  expect(sevGroupsOf({ mode: 0o20600, gid: 105 })).toBeUndefined();
});

/** KVM's answer: leaf, ECX and EDX of each entry. */
function cpuidTable(entries: readonly (readonly [leaf: number, ecx: number, edx: number])[]): Buffer {
  const table = Buffer.alloc(8 + 256 * 40);
  table.writeUInt32LE(entries.length, 0);
  for (const [index, [leaf, ecx, edx]] of entries.entries()) {
    const at = 8 + index * 40;
    table.writeUInt32LE(leaf, at);
    table.writeUInt32LE(ecx, at + 20);
    table.writeUInt32LE(edx, at + 24);
  }
  return table;
}

describe('the room for encrypted guests', () => {
  it('is what the leaf of memory encryption says: libvirt counts 59 and 450 of the same', () => {
    const table = cpuidTable([
      [0, 7, 9],
      [0x8000_001f, 509, 451],
    ]);
    expect(sevLimitsOf(table)).toEqual({ maxGuests: 59, maxEsGuests: 450 });
  });

  it.each([
    ['no such leaf', [[1, 509, 451]] as const],
    ['an empty one', [[0x8000_001f, 0, 0]] as const],
    ['nothing at all', []],
  ])('is none for %s', (_, entries) => {
    expect(sevLimitsOf(cpuidTable(entries))).toEqual({ maxGuests: 0, maxEsGuests: 0 });
  });
});
