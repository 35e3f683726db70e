/** Guests with encrypted memory: what the driver refuses, fills in, locks, and asks QEMU. */
import { describe, expect, it } from 'vitest';
import { parseFirmwareDescriptor, selectFirmware } from '../../../src/drivers/qemu/firmware.ts';
import { checkSev, QemuLaunchSecurity, withSevPlatform } from '../../../src/drivers/qemu/launch-security.ts';
import { lockedBytes } from '../../../src/drivers/qemu/locked-memory.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { connectQmp } from '../../../src/drivers/qemu/qmp/client.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';
import { type FakeCommand, FakeQmp } from '../../support/fake-qmp.ts';
import { recordedFiles } from '../../support/recorded-files.ts';

const sev = (policy: string): string =>
  `<launchSecurity type='sev'><policy>${policy}</policy></launchSecurity>`;
const snp = `<launchSecurity type='sev-snp'><policy>0x30000</policy></launchSecurity>`;

function guest(security: string, os = '<os><type>hvm</type></os>', type = 'kvm'): DomainDef {
  const xml = `<domain type='${type}'><name>a</name><memory unit='GiB'>2</memory>${os}${security}</domain>`;
  return parseDomain(xml, { mode: 'strict' }).definition;
}

describe('a host without SEV', () => {
  const hostFiles = recordedFiles({
    files: {
      '/proc/cpuinfo': 'vendor_id : AuthenticAMD\nflags : svm sev sev_es\n\n',
      '/sys/module/kvm_amd/parameters/sev': 'Y\n',
      '/sys/module/kvm_amd/parameters/sev_es': 'N\n',
    },
    nodes: { '/dev/sev': { isCharacterDevice: true, mode: 0o20660, uid: 0, gid: 105 } },
  });
  const options = { mode: 'system', hostArch: 'x86_64', hostFiles } as const;

  it('is told by the generation that the definition asks for, with the repair', () => {
    expect(() => checkSev(options, guest(sev('0x0001')))).not.toThrow();
    expect(() => checkSev(options, guest(''))).not.toThrow();
    expect(() => checkSev(options, guest(sev('0x0005'), undefined, 'qemu'))).not.toThrow();
    let thrown: unknown;
    try {
      checkSev(options, guest(sev('0x0005')));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: 'definition.unsupported',
      reason: expect.stringContaining('SEV-ES is switched off') as unknown,
      hint: expect.stringContaining('kvm_amd sev_es=1') as unknown,
      details: { problems: [{ path: 'launchSecurity' }] },
    });
    expect(() => checkSev(options, guest(snp))).toThrow(/does not show SEV-SNP/);
  });
});

describe('a start', () => {
  const capabilities = {
    accelerators: {
      kvm: { machines: [], cpuModels: [], sev: { cbitpos: 51, reducedPhysBits: 1, pdh: '', certChain: '' } },
    },
  } as unknown as QemuCapabilities;

  it('fills in where encryption happens, in the definition that runs', () => {
    expect(withSevPlatform(guest(sev('1')), capabilities).launchSecurity).toMatchObject({
      cbitpos: 51,
      reducedPhysBits: 1,
    });
    const own = `<launchSecurity type='sev'><cbitpos>47</cbitpos><policy>1</policy></launchSecurity>`;
    expect(withSevPlatform(guest(own), capabilities).launchSecurity).toMatchObject({
      cbitpos: 47,
      reducedPhysBits: 1,
    });
    const open = guest('');
    expect(withSevPlatform(open, capabilities)).toBe(open);
  });

  it('may lock all of the memory, since encrypted pages are pinned', () => {
    expect(lockedBytes(guest(sev('1')))).toBe(3 * 1024 ** 3);
    expect(lockedBytes(guest(snp))).toBe(3 * 1024 ** 3);
    expect(lockedBytes(guest(''))).toBeUndefined();
  });

  it('takes a firmware that knows how', () => {
    const os = `<os firmware='efi'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>`;
    const firmware = (name: string, features: string[]) => {
      const descriptor = {
        description: name,
        'interface-types': ['uefi'],
        mapping: {
          device: 'flash',
          mode: 'stateless',
          executable: { filename: `/${name}.fd`, format: 'raw' },
        },
        targets: [{ architecture: 'x86_64', machines: ['pc-q35-*'] }],
        features,
      };
      const found = parseFirmwareDescriptor(JSON.stringify(descriptor), `/fw/${name}.json`);
      return found === undefined ? [] : [found];
    };
    const all = [
      ...firmware('plain', []),
      ...firmware('sev', ['amd-sev']),
      ...firmware('es', ['amd-sev', 'amd-sev-es']),
    ];
    const chosen = (security: string) => selectFirmware(guest(security, os), all, 'pc-q35-7.2')?.loader.path;
    expect(chosen('')).toBe('/plain.fd');
    expect(chosen(sev('0x0001'))).toBe('/sev.fd');
    expect(chosen(sev('0x0005'))).toBe('/es.fd');
    expect(() => chosen(snp)).toThrow(/it lacks the feature amd-sev-snp/);
  });
});

/** Answers as QEMU's schema has it (qapi/misc-target.json), 7.2 and 10. */
const older = {
  enabled: true,
  'api-major': 1,
  'api-minor': 55,
  'build-id': 21,
  policy: 1,
  state: 'launch-secret',
  handle: 1,
};
const newer = {
  enabled: true,
  'api-major': 1,
  'api-minor': 55,
  'build-id': 21,
  state: 'running',
  'sev-type': 'sev-snp',
  'snp-policy': 196608,
};

async function withQemu(
  answers: Readonly<Record<string, unknown>>,
  use: (security: QemuLaunchSecurity, asked: FakeCommand[]) => Promise<void>,
): Promise<void> {
  const asked: FakeCommand[] = [];
  await using fake = await FakeQmp.listen({
    onCommand: (command, connection) => {
      asked.push(command);
      if (Object.hasOwn(answers, command.execute)) connection.reply(command, answers[command.execute]);
      else
        connection.send({
          error: { class: 'GenericError', desc: 'SEV launch measurement is not available' },
          id: command.id,
        });
    },
  });
  const client = await connectQmp(fake.path, { timeoutMs: 10_000 });
  try {
    await use(
      new QemuLaunchSecurity(
        () => client,
        () => undefined,
      ),
      asked,
    );
  } finally {
    client.close();
  }
}

describe('a guest that is verified', () => {
  it('tells what was measured, by which firmware of the secure processor', async () => {
    await withQemu(
      { 'query-sev': older, 'query-sev-launch-measure': { data: 'bWVhc3VyZWQ=' } },
      async (security) => {
        expect(await security.measurement()).toEqual({
          apiMajor: 1,
          apiMinor: 55,
          buildId: 21,
          state: 'launch-secret',
          policy: 1,
          measurement: 'bWVhc3VyZWQ=',
        });
      },
    );
  });

  it('has no measurement with SEV-SNP, and nobody asks for one', async () => {
    await withQemu({ 'query-sev': newer }, async (security, asked) => {
      expect(await security.measurement()).toEqual({
        apiMajor: 1,
        apiMinor: 55,
        buildId: 21,
        state: 'running',
        policy: 196608,
      });
      expect(asked.map(({ execute }) => execute)).toEqual(['query-sev']);
    });
  });

  it('tells why nothing was measured in the words of QEMU', async () => {
    await withQemu({ 'query-sev': older }, async (security) => {
      await expect(security.measurement()).rejects.toMatchObject({
        code: 'qmp.failed',
        reason: expect.stringContaining('SEV launch measurement is not available') as unknown,
      });
    });
  });

  it('gets its secret, at an address where one is said', async () => {
    await withQemu({ 'sev-inject-launch-secret': {} }, async (security, asked) => {
      await security.injectSecret({ header: 'aGVhZA==', secret: 'c2VjcmV0' });
      await security.injectSecret({ header: 'aGVhZA==', secret: 'c2VjcmV0', address: 0x80d000 });
      expect(asked.map((command) => command.arguments)).toEqual([
        { 'packet-header': 'aGVhZA==', secret: 'c2VjcmV0' },
        { 'packet-header': 'aGVhZA==', secret: 'c2VjcmV0', gpa: 0x80d000 },
      ]);
    });
  });
});
