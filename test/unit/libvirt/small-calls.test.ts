/** Calls around domains: processors, command lines, key codes, metadata, and the names in error texts. */
import { describe, expect, it } from 'vitest';
import { withoutNamespace } from '../../../src/daemon/frontends/libvirt/handlers/foreign-metadata.ts';
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

  it('of another architecture fit no host, whatever they are', async () => {
    const client = await (await startRig()).open();
    const xml = '<cpu><arch>s390x</arch><model>z14</model></cpu>';
    expect(await client.call('connectCompareCpu', { xml, flags: 0 })).toEqual({ result: 0 });
    await expect(client.call('connectCompareCpu', { xml, flags: 1 })).rejects.toThrow(
      /^91: .*CPU arch s390x does not match host arch/,
    );
  });

  it('do not fit a host that has what they forbid, or more than they allow', async () => {
    const client = await (await startRig()).open();
    const compare = (match: string, feature = '') =>
      client.call('connectCompareHypervisorCpu', {
        ...anyEmulator,
        xmlCPU: `<cpu mode='custom' match='${match}'><model>Small</model>${feature}</cpu>`,
        flags: 0,
      });
    expect(await compare('exact')).toEqual({ result: 2 });
    expect(await compare('strict')).toEqual({ result: 0 });
    expect(await compare('exact', `<feature policy='forbid' name='aes'/>`)).toEqual({ result: 0 });
  });

  it('have the vendor that all say in their baseline, and none of two vendors', async () => {
    const client = await (await startRig()).open();
    const baseline = (...vendors: string[]) =>
      client.call('connectBaselineHypervisorCpu', {
        ...anyEmulator,
        xmlCPUs: vendors.map((vendor) => `<cpu><model>Middle</model><vendor>${vendor}</vendor></cpu>`),
        flags: 0,
      });
    expect((await baseline('Intel', 'Intel')).cpu).toContain('<vendor>Intel</vendor>');
    await expect(baseline('Intel', 'AMD')).rejects.toThrow(/^9: .*CPU vendors do not match/);
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

it('set metadata is in its namespace as a whole, and told without one', async () => {
  const client = await (await startRig()).open();
  const { dom } = await client.call('domainDefineXml', { xml: guestXml('m') });
  const metadata = "<a><b k='1'/><c xmlns='urn:other'><d/></c><p:e xmlns:p='urn:x'/></a>";
  await client.call('domainSetMetadata', { dom, type: 2, metadata, key: 'q', uri: 'urn:x', flags: 0 });
  const { xml } = await client.call('domainGetXmlDesc', { dom, flags: 0 });
  for (const part of ["<q:a xmlns:q='urn:x'>", "<q:b k='1'/>", "<c xmlns='urn:other'>", '<d/>'])
    expect(xml).toContain(part);
  const told = await client.call('domainGetMetadata', { dom, type: 2, uri: 'urn:x', flags: 0 });
  expect(told.metadata.replaceAll(/\n */g, '')).toBe("<a><b k='1'/><c xmlns='urn:other'><d/></c><e/></a>");
});

it('what contradicts itself or is not known is refused by the number that libvirt has for it', async () => {
  const client = await (await startRig()).open();
  const { dom } = await client.call('domainDefineXml', { xml: guestXml('n') });
  for (const flags of [4 | 8, 32 | 64])
    await expect(client.call('domainUndefineFlags', { dom, flags })).rejects.toThrow(
      /^55: .*keep and delete/,
    );
  await expect(client.call('domainDefineXml', { xml: '<domain' })).rejects.toThrow(/^35: /);
  await client.call('domainCreate', { dom });
  const ask = { dom, source: 9, flags: 0 };
  await expect(client.call('domainInterfaceAddresses', ask)).rejects.toThrow(/^74: .*data source 9/);
  await expect(client.call('domainGetHostname', { dom, flags: 1 })).rejects.toThrow(
    '108: no hostname found: no hostname found for domain n',
  );
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
  [`<a:b xmlns:a='urn:x' a:k='1'/>`, `<b k='1'/>`],
  [`<a:b xmlns:a='urn:x' xmlns='urn:x'><c/></a:b>`, '<b>\n  <c/>\n</b>'],
  [`<a:b xmlns:a='urn:x' xmlns:p='urn:x'><p:c p:k='1'/></a:b>`, `<b>\n  <c k='1'/>\n</b>`],
  [
    `<a:b xmlns:a='urn:x'><c xmlns='urn:y'><d/></c></a:b>`,
    `<b>\n  <c xmlns='urn:y'>\n    <d/>\n  </c>\n</b>`,
  ],
  [`<b xmlns='urn:x'>t</b>`, '<b>t</b>'],
])('foreign metadata %s is told without its namespace', (stored, told) => {
  expect(withoutNamespace(stored)).toBe(told);
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
  const sevXml = (policy = '0x0001') =>
    guestXml('sealed')
      .replace("type='qemu'", "type='kvm'")
      .replace(
        '</domain>',
        `<launchSecurity type='sev'><policy>${policy}</policy></launchSecurity></domain>`,
      );
  const text = (field: string, value: string) => ({ field, value: { type: 7 as const, value } });
  const secret = [text('sev-secret-header', 'aGVhZA=='), text('sev-secret', 'c2VjcmV0')];

  it('is nothing that an open guest has, and it takes no secret', async () => {
    const client = await (await startRig()).open();
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('open') });
    expect(await client.call('domainGetLaunchSecurityInfo', { dom, flags: 4 })).toEqual({ params: [] });
    const set = (field: string, flags = 0) =>
      client.call('domainSetLaunchSecurityState', { dom, params: [text(field, 'c2VjcmV0')], flags });
    await expect(set('sev-secret')).rejects.toThrow(/^84: .*no launch security/);
    await expect(set('colour')).rejects.toThrow("74: argument unsupported: parameter 'colour' not supported");
    await expect(set('sev-secret', 1)).rejects.toThrow(/unsupported flags/);
  });

  it('is measured while the guest waits, and the guest takes its secret then', async () => {
    const rig = await startRig();
    const { driver } = rig;
    const client = await rig.open();
    const { dom } = await client.call('domainDefineXml', { xml: sevXml() });
    const info = () => client.call('domainGetLaunchSecurityInfo', { dom, flags: 4 });
    const set = (params = secret) => client.call('domainSetLaunchSecurityState', { dom, params, flags: 0 });
    await expect(info()).rejects.toThrow(/^55: .*domain is not running/);
    await expect(set()).rejects.toThrow(/^55: .*domain is not running/);
    await client.call('domainCreateWithFlags', { dom, flags: 1 });
    expect((await info()).params.map(({ field, value }) => [field, value.value])).toEqual([
      ['sev-measurement', 'bWVhc3VyZWQ='],
      ['sev-api-major', 1],
      ['sev-api-minor', 55],
      ['sev-build-id', 21],
      ['sev-policy', 1],
    ]);
    await expect(set([text('sev-secret', 'c2VjcmV0')])).rejects.toThrow(
      /^1: .*Both secret and the secret header are required/,
    );
    const address = { field: 'sev-secret-set-address', value: { type: 4 as const, value: 0x80d000n } };
    await client.call('domainSetLaunchSecurityState', { dom, params: [...secret, address], flags: 0 });
    expect(driver.lastGuest.done).toContain('secret aGVhZA== c2VjcmV0 8441856');
    driver.lastGuest.state = { state: 'running', reason: 'booted' };
    await expect(set()).rejects.toThrow(/^55: .*must be in a paused state/);
  });

  it('is what the host says of its processor', async () => {
    const without = await (await startRig()).open();
    await expect(without.call('nodeGetSevInfo', { nparams: 0, flags: 4 })).rejects.toThrow(
      /^84: .*SEV is of AMD; run it elsewhere/,
    );
    const platform = {
      cbitpos: 51,
      reducedPhysBits: 1,
      maxGuests: 59,
      maxEsGuests: 450,
      pdh: 'cGRo',
      certChain: 'Y2VydA==',
      cpu0Id: 'Y3B1',
    };
    const client = await (await startRig({ encryption: { platform } })).open();
    expect(await client.call('nodeGetSevInfo', { nparams: 0, flags: 4 })).toEqual({ params: [], nparams: 7 });
    const { params } = await client.call('nodeGetSevInfo', { nparams: 7, flags: 4 });
    expect(Object.fromEntries(params.map(({ field, value }) => [field, value.value]))).toEqual({
      pdh: 'cGRo',
      'cert-chain': 'Y2VydA==',
      'cpu0-id': 'Y3B1',
      cbitpos: 51,
      'reduced-phys-bits': 1,
      'max-guests': 59,
      'max-es-guests': 450,
    });
  });
});

it.each(['domainSetGuestVcpus', 'domainSetVcpu'] as const)(
  '%s refuses CPUs that are no set',
  async (procedure) => {
    const client = await (await startRig()).open();
    const { dom } = await client.call('domainCreateXml', { xmlDesc: guestXml('cpus'), flags: 0 });
    const call = (cpumap: string) => client.call(procedure, { dom, cpumap, state: 1, flags: 0 });
    for (const cpumap of ['x', '', '3-1'])
      await expect(call(cpumap)).rejects.toThrow(`8: invalid argument: Failed to parse bitmap '${cpumap}'`);
  },
);

it('a name of a guest that no lease has is told by a number of its own', async () => {
  const client = await (await startRig()).open();
  const { dom } = await client.call('domainCreateXml', { xmlDesc: guestXml('still'), flags: 0 });
  await expect(client.call('domainGetHostname', { dom, flags: 1 })).rejects.toThrow(
    '108: no hostname found: no hostname found for domain still',
  );
});

describe('a snapshot', () => {
  const xmlDesc = '<domainsnapshot><name>s</name></domainsnapshot>';

  it('of disks alone is defined again from a document of such a one', async () => {
    const client = await (await startRig()).open();
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('snapped') });
    const kept = (state: string) =>
      `<domainsnapshot><name>s</name><state>${state}</state><creationTime>5</creationTime></domainsnapshot>`;
    const define = (state: string) =>
      client.call('domainSnapshotCreateXml', { dom, xmlDesc: kept(state), flags: 1 + 16 });
    await expect(define('shutoff')).rejects.toThrow(
      '8: invalid argument: disk-only flag for snapshot s requires disk-snapshot state',
    );
    expect(await define('disk-snapshot')).toMatchObject({ snap: { name: 's' } });
  });

  it('while the guest runs on needs a file for the memory', async () => {
    const client = await (await startRig()).open();
    const { dom } = await client.call('domainCreateXml', { xmlDesc: guestXml('live'), flags: 0 });
    await expect(client.call('domainSnapshotCreateXml', { dom, xmlDesc, flags: 256 })).rejects.toThrow(
      '84: Operation not supported: the guest runs on only while its memory goes to a file of its own',
    );
  });
});
