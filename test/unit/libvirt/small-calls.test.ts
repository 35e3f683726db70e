/** Calls around domains: processors, command lines, key codes, metadata, and the names in error texts. */
import { describe, expect, it } from 'vitest';
import { withoutPrefix } from '../../../src/daemon/frontends/libvirt/handlers/foreign-metadata.ts';
import { toLinuxCodes } from '../../../src/daemon/frontends/libvirt/handlers/key-codesets.ts';
import { apiFunction } from '../../../src/libvirt/access.ts';
import { guestXml, startRig } from './rig.ts';

const anyEmulator = { emulator: null, arch: null, machine: null, virttype: null };

describe('processors', () => {
  it('are listed for an architecture that there is', async () => {
    const client = await (await startRig()).open();
    const ask = (arch: string) => client.call('connectGetCpuModelNames', { arch, needResults: 1, flags: 0 });
    expect((await ask('x86_64')).models).toEqual(['Small', 'Middle', 'Large']);
    await expect(ask('nonsense')).rejects.toThrow('8: invalid argument: cannot find architecture nonsense');
  });

  it.each([
    ['Small', 2],
    ['Large', 0],
  ])('compare with what the hypervisor has: %s', async (model, result) => {
    const client = await (await startRig()).open();
    const xmlCPU = `<cpu mode='custom'><model>${model}</model></cpu>`;
    const compare = (flags: number) =>
      client.call('connectCompareHypervisorCpu', { ...anyEmulator, xmlCPU, flags });
    expect(await compare(0)).toEqual({ result });
    if (result === 0)
      await expect(compare(1)).rejects.toThrow(
        '91: the CPU is incompatible with host CPU: Host CPU does not provide required features: avx',
      );
  });

  it('have a baseline, of models that can be used here', async () => {
    const client = await (await startRig()).open();
    const xmlCPUs = [
      '<cpu><model>Large</model></cpu>',
      `<cpu><model>Middle</model><feature name='pni'/></cpu>`,
    ];
    const { cpu } = await client.call('connectBaselineHypervisorCpu', { ...anyEmulator, xmlCPUs, flags: 0 });
    expect(cpu).toContain(`<model fallback='forbid'>Middle</model>`);
    const unknown = { ...anyEmulator, xmlCPUs: ['<cpu><model>None</model></cpu>'], flags: 0 };
    await expect(client.call('connectBaselineHypervisorCpu', unknown)).rejects.toThrow(
      'Unknown CPU model None',
    );
    const guests = { xmlCPUs: [`<cpu mode='custom'><model>Small</model></cpu>`], flags: 0 };
    await expect(client.call('connectBaselineCpu', guests)).rejects.toThrow(
      'Attribute mode is only allowed for guest CPU',
    );
    await expect(
      client.call('connectCompareHypervisorCpu', {
        ...anyEmulator,
        virttype: 'x',
        xmlCPU: '<cpu/>',
        flags: 0,
      }),
    ).rejects.toThrow('unknown virttype: x');
  });

  it('are written out where a definition follows the host', async () => {
    const client = await (await startRig()).open();
    const xml = guestXml('h').replace('<devices>', `<cpu mode='host-model'/><devices>`);
    const { dom } = await client.call('domainDefineXml', { xml });
    expect((await client.call('domainGetXmlDesc', { dom, flags: 0 })).xml).toContain(`mode='host-model'`);
    const { xml: expanded } = await client.call('domainGetXmlDesc', { dom, flags: 4 });
    expect(expanded).toContain('<model>Middle</model>');
    expect(expanded).not.toContain('host-model');
  });
});

it('definitions become command lines of QEMU, and of nothing else', async () => {
  const client = await (await startRig()).open();
  const convert = (nativeFormat: string) =>
    client.call('connectDomainXmlToNative', { nativeFormat, domainXml: guestXml('n'), flags: 0 });
  expect((await convert('qemu-argv')).nativeConfig).not.toBe('');
  await expect(convert('xen-xl')).rejects.toThrow('8: invalid argument: unsupported config type xen-xl');
});

it('calls without an engine refuse flags that nobody knows', async () => {
  const client = await (await startRig()).open();
  const { dom } = await client.call('domainDefineXml', { xml: guestXml('f') });
  await expect(client.call('domainSnapshotNum', { dom, flags: 0x800 })).rejects.toThrow(
    '8: unsupported flags (0x800)',
  );
  expect(await client.call('domainSnapshotNum', { dom, flags: 0x7ff })).toEqual({ num: 0 });
  await expect(client.call('domainGetJobInfo', { dom })).rejects.toThrow(
    '55: Requested operation is not valid: domain is not running',
  );
});

describe('key codes', () => {
  it.each([
    ['Linux', 0, [30, 96], [30, 96]],
    ['xt', 1, [30, 0xe01c], [30, 96]],
    ['QEMU', 9, [30, 0x9c], [30, 96]],
    ['USB', 7, [4, 88, 224, 231], [30, 96, 29, 126]],
  ])('of %s are known', (_name, set, codes, linux) => {
    expect(toLinuxCodes(set, codes)).toEqual(linux);
  });

  it.each([
    [7, 3],
    [7, 250],
    [1, 0x7f],
    [9, 0xff],
  ])('of set %d: %d is none', (set, code) => {
    expect(() => toLinuxCodes(set, [code])).toThrow('cannot translate keycode');
  });

  it('of other sets are refused', () => {
    expect(() => toLinuxCodes(5, [1])).toThrow('codeset 5');
  });
});

it.each([
  [`<a:b xmlns:a='urn:x'><a:c/><d/></a:b>`, `<b>\n  <c/>\n  <d/>\n</b>`],
  [`<a:b xmlns:a='urn:x' a:k='1'/>`, `<b xmlns:a='urn:x' a:k='1'/>`],
  [`<b xmlns='urn:x'>t</b>`, '<b>t</b>'],
])('foreign metadata %s is told without its prefix', (stored, told) => {
  expect(withoutPrefix(stored).trim()).toBe(told);
});

it.each([
  ['nwfilterLookupByUuid', 'virNWFilterLookupByUUID'],
  ['connectListAllNwfilters', 'virConnectListAllNWFilters'],
  ['nodeGetSevInfo', 'virNodeGetSEVInfo'],
  ['domainAuthorizedSshKeysGet', 'virDomainAuthorizedSSHKeysGet'],
  ['interfaceLookupByMacString', 'virInterfaceLookupByMACString'],
  ['nodeDeviceLookupScsiHostByWwn', 'virNodeDeviceLookupSCSIHostByWWN'],
  ['connectBaselineHypervisorCpu', 'virConnectBaselineHypervisorCPU'],
])('%s is told as %s', (name, told) => {
  expect(apiFunction(name)).toBe(told);
});

describe('launch security', () => {
  it('is nothing that a guest here has, and none takes a secret', async () => {
    const client = await (await startRig()).open();
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('open') });
    expect(await client.call('domainGetLaunchSecurityInfo', { dom, flags: 4 })).toEqual({ params: [] });
    const secret = (field: string) => [{ field, value: { type: 7 as const, value: 'c2VjcmV0' } }];
    const set = (field: string, flags = 0) =>
      client.call('domainSetLaunchSecurityState', { dom, params: secret(field), flags });
    await expect(set('sev-secret')).rejects.toThrow(/^84: .*no launch security/);
    await expect(set('colour')).rejects.toThrow("74: argument unsupported: parameter 'colour' not supported");
    await expect(set('sev-secret', 1)).rejects.toThrow(/unsupported flags/);
  });
});
