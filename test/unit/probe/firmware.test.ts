import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FirmwareDescriptor } from '../../../src/drivers/qemu/firmware.ts';
import {
  firmwareDescriptors,
  parseFirmwareDescriptor,
  selectFirmware,
} from '../../../src/drivers/qemu/firmware.ts';
import type { DomainDef } from '../../../src/model/domain/domain.ts';

/** A descriptor as Debian's ovmf package writes it. */
function descriptor(
  code: string,
  options: { features?: string[]; machines?: string[]; mapping?: object } = {},
): object {
  return {
    description: code,
    'interface-types': ['uefi'],
    mapping: options.mapping ?? {
      device: 'flash',
      executable: { filename: code, format: 'raw' },
      'nvram-template': { filename: `${code}.vars`, format: 'raw' },
    },
    targets: [{ architecture: 'x86_64', machines: options.machines ?? ['pc-i440fx-*', 'pc-q35-*'] }],
    features: options.features ?? ['acpi-s3'],
    tags: [],
  };
}

function parsed(name: string, ...rest: Parameters<typeof descriptor>): FirmwareDescriptor {
  const found = parseFirmwareDescriptor(JSON.stringify(descriptor(...rest)), `/fw/${name}.json`);
  if (found === undefined) throw new Error('no firmware');
  return found;
}

const secureFeatures = ['requires-smm', 'secure-boot'];
const all = [
  parsed('40-enrolled', '/ms.fd', { features: [...secureFeatures, 'enrolled-keys'], machines: ['pc-q35-*'] }),
  parsed('50-secure', '/secboot.fd', { features: secureFeatures, machines: ['pc-q35-*'] }),
  parsed('60-plain', '/plain.fd'),
  parsed('70-rom', '/rom.fd', { mapping: { device: 'memory', filename: '/rom.fd' } }),
];

type OsParts = Partial<DomainDef['os']>;

function definition(os: OsParts = {}, features?: DomainDef['features']): DomainDef {
  const base = { firmware: 'efi', type: { kind: 'hvm', arch: 'x86_64' }, firmwareFeatures: [], ...os };
  return { name: 'web', os: base, ...(features && { features }) } as unknown as DomainDef;
}

const q35 = 'pc-q35-7.2';

describe('selectFirmware', () => {
  it('chooses nothing where nothing is asked', () => {
    const { firmware: _, ...os } = definition().os;
    expect(selectFirmware({ ...definition(), os }, all, q35)).toBeUndefined();
    expect(selectFirmware(definition({ firmware: 'bios' }), all, q35)).toBeUndefined();
  });

  it('takes the first that fits the machine type', () => {
    expect(selectFirmware(definition(), all, q35)).toMatchObject({
      loader: { path: '/ms.fd', format: 'raw' },
      nvramTemplate: { path: '/ms.fd.vars' },
      type: 'pflash',
      secure: true,
    });
    expect(selectFirmware(definition(), all, 'pc-i440fx-7.2')?.loader.path).toBe('/plain.fd');
  });

  it.each<[string, OsParts, DomainDef['features'], string]>([
    [
      'without enrolled keys',
      { firmwareFeatures: [{ enabled: false, name: 'enrolled-keys' }] },
      undefined,
      '/secboot.fd',
    ],
    [
      'without Secure Boot',
      { firmwareFeatures: [{ enabled: false, name: 'secure-boot' }] },
      undefined,
      '/plain.fd',
    ],
    ["with <loader secure='no'>", { loader: { secure: false } }, undefined, '/plain.fd'],
    ["with <loader secure='yes'>", { loader: { secure: true } }, undefined, '/ms.fd'],
    ['with SMM off', {}, { smm: { state: false } }, '/plain.fd'],
    ['of type rom', { loader: { type: 'rom' } }, undefined, '/rom.fd'],
    ['without variables', { loader: { stateless: true } }, undefined, '/rom.fd'],
    ['with a template of its own', { nvram: { template: '/plain.fd.vars' } }, undefined, '/plain.fd'],
    ['at a path', { loader: { path: '/secboot.fd' } }, undefined, '/secboot.fd'],
  ])('finds firmware %s', (_, os, features, path) => {
    expect(selectFirmware(definition(os, features), all, q35)?.loader.path).toBe(path);
  });

  it('tells of each candidate why it was not taken', () => {
    const wish = definition({ loader: { secure: true } });
    expect(() => selectFirmware(wish, all.slice(2), q35)).toThrow(
      "os.firmware: 60-plain.json: it is not secure, and the loader says secure='yes'; 70-rom.json",
    );
    expect(() => selectFirmware(definition(), all, 'microvm')).toThrow(
      'none for x86_64 microvm is installed',
    );
    expect(() => selectFirmware(definition(), [], q35)).toThrow(
      expect.objectContaining({ code: 'definition.unsupported' }),
    );
  });

  it('never takes firmware that keeps code and variables in one file', () => {
    const mapping = {
      device: 'flash',
      mode: 'combined',
      executable: { filename: '/both.fd', format: 'raw' },
    };
    expect(() => selectFirmware(definition(), [parsed('10', '/both.fd', { mapping })], q35)).toThrow(
      /in one file/,
    );
  });
});

describe('parseFirmwareDescriptor', () => {
  it.each(['', '{', '[]', '{"description":"x"}', JSON.stringify(descriptor('relative.fd'))])(
    'refuses %j',
    (text) => {
      expect(() => parseFirmwareDescriptor(text, '/x')).toThrow(
        expect.objectContaining({ code: 'file.failed' }),
      );
    },
  );

  it('passes over kernels', () => {
    const mapping = { device: 'kernel', filename: '/vmlinuz' };
    expect(parseFirmwareDescriptor(JSON.stringify(descriptor('/x', { mapping })), '/x')).toBeUndefined();
  });

  it('takes machine patterns for names, not for rules', () => {
    const fw = parsed('10', '/x.fd', { machines: ['pc.q35-?.2'] });
    expect(() => selectFirmware(definition(), [fw], q35)).toThrow();
    expect(selectFirmware(definition(), [fw], 'pc.q35-7.2')).toBeDefined();
  });
});

describe('firmwareDescriptors', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'firmware-test-'));
    for (const name of ['vendor', 'admin']) await mkdir(join(root, name));
    for (const name of ['a.fd', 'a.fd.vars', 'b.fd', 'b.fd.vars']) await writeFile(join(root, name), '');
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const put = (file: string, content: object | string): Promise<void> =>
    writeFile(join(root, file), typeof content === 'string' ? content : JSON.stringify(content));

  async function read(problems: string[] = []): Promise<string[]> {
    const directories = [join(root, 'vendor'), join(root, 'none'), join(root, 'admin')];
    const onProblem = (path: string): number => problems.push(path.slice(root.length + 1));
    return (await firmwareDescriptors(directories, { onProblem })).map(({ loader }) =>
      loader.path.slice(root.length + 1),
    );
  }

  it('orders by file name over all directories; a later directory overrides, an empty file hides', async () => {
    await put('vendor/50.json', descriptor(join(root, 'a.fd')));
    await put('admin/40.json', descriptor(join(root, 'b.fd')));
    expect(await read()).toEqual(['b.fd', 'a.fd']);
    await put('admin/50.json', descriptor(join(root, 'b.fd')));
    expect(await read()).toEqual(['b.fd', 'b.fd']);
    await put('admin/50.json', '');
    expect(await read()).toEqual(['b.fd']);
  });

  it('passes over what cannot be read or is not installed, and says so', async () => {
    await put('vendor/10.json', '{ torn');
    await put('vendor/20.json', descriptor(join(root, 'missing.fd')));
    await put('vendor/30.json', descriptor(join(root, 'a.fd')));
    await put('vendor/40.txt', 'no descriptor');
    const problems: string[] = [];
    expect(await read(problems)).toEqual(['a.fd']);
    expect(problems.sort()).toEqual(['vendor/10.json', 'vendor/20.json']);
  });
});
