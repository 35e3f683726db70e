/** The object that encrypts a guest's memory, against what libvirt 9.0 and 11.3 give QEMU for the same definitions. */
import { describe, expect, it } from 'vitest';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { complete, context, recorded } from '../../golden/argv/cases.ts';

/** A recorded QEMU, as it would have answered on an EPYC. */
function onEpyc(version: string): QemuCapabilities {
  const capabilities = recorded(version);
  const { kvm } = capabilities.accelerators;
  if (kvm === undefined) throw new Error('recorded without KVM');
  const sev = { cbitpos: 51, reducedPhysBits: 1, pdh: 'cGRo', certChain: 'Y2VydA==' };
  return { ...capabilities, accelerators: { ...capabilities.accelerators, kvm: { ...kvm, sev } } };
}

function built(security: string, capabilities = onEpyc('10'), type = 'kvm') {
  const xml = `<domain type='${type}'><name>a</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>${security}</domain>`;
  const command = buildCommand(complete(xml, capabilities), capabilities, context);
  const objects = command.args.flatMap(({ flag, value }) =>
    flag === '-object' && typeof value === 'object' && 'json' in value ? [value.json] : [],
  );
  const machine = command.args.find(({ flag }) => flag === '-machine')?.value;
  return {
    // As QEMU reads it: without what is undefined.
    object: JSON.parse(JSON.stringify(objects.find(({ id }) => id === 'lsec0') ?? null)) as unknown,
    machine: typeof machine === 'object' && 'pairs' in machine ? new Map(machine.pairs) : new Map(),
    texts: command.fds.filter(({ kind }) => kind === 'text'),
  };
}

const whole = (attributes = ''): string =>
  `<launchSecurity type='sev'${attributes}><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0001</policy><dhCert>AQAAAAAOAAAAQAAAAAOAAAAQ</dhCert><session>IHAVENOIDEABUTJUSTPROVIDINGASTRING</session></launchSecurity>`;

describe.each(['7.2', '10'])('SEV with QEMU %s', (version) => {
  it('is an object that the machine names, its certificate and session in memory', () => {
    const { object, machine, texts } = built(whole(), onEpyc(version));
    const [dhCert, session] = texts.map(({ fd }) => `/proc/self/fd/${fd}`);
    expect(object).toEqual({
      'qom-type': 'sev-guest',
      id: 'lsec0',
      cbitpos: 47,
      'reduced-phys-bits': 1,
      policy: 1,
      'dh-cert-file': dhCert,
      'session-file': session,
    });
    expect(machine.get('confidential-guest-support')).toBe('lsec0');
    expect(texts).toMatchObject([
      { text: 'AQAAAAAOAAAAQAAAAAOAAAAQ', purpose: 'launchSecurity.dhCert' },
      { text: 'IHAVENOIDEABUTJUSTPROVIDINGASTRING', purpose: 'launchSecurity.session' },
    ]);
  });

  it('is told where encryption happens by QEMU itself, unless the definition says so', () => {
    const { object, texts } = built(
      `<launchSecurity type='sev'><policy>0x0005</policy></launchSecurity>`,
      onEpyc(version),
    );
    expect(object).toMatchObject({ cbitpos: 51, 'reduced-phys-bits': 1, policy: 5 });
    expect(texts).toEqual([]);
  });

  it('measures the kernel where that is asked for', () => {
    expect(built(whole(` kernelHashes='yes'`), onEpyc(version)).object).toMatchObject({
      'kernel-hashes': true,
    });
  });
});

const snp = `<launchSecurity type='sev-snp' authorKey='yes' vcek='no'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x00030000</policy><guestVisibleWorkarounds>bGlidmlydGxpYnZpcnRsaQ==</guestVisibleWorkarounds><hostData>bGlidmlydGxpYnZpcnRsaWJ2aXJ0bGlidmlydGxpYnY=</hostData></launchSecurity>`;

describe('SEV-SNP', () => {
  it('is an object of its own, which has the switch of the VCEK the other way round', () => {
    const { object, machine } = built(snp);
    expect(object).toEqual({
      'qom-type': 'sev-snp-guest',
      id: 'lsec0',
      cbitpos: 47,
      'reduced-phys-bits': 1,
      policy: 196608,
      'guest-visible-workarounds': 'bGlidmlydGxpYnZpcnRsaQ==',
      'host-data': 'bGlidmlydGxpYnZpcnRsaWJ2aXJ0bGlidmlydGxpYnY=',
      'author-key-enabled': true,
      'vcek-disabled': true,
    });
    expect(machine.get('confidential-guest-support')).toBe('lsec0');
  });

  it('needs QEMU 9.1', () => {
    expect(() => built(snp, onEpyc('7.2'))).toThrow(/no object 'sev-snp-guest'/);
  });
});

describe('launch security that cannot be had', () => {
  it.each([
    ['under TCG', () => built(whole(), onEpyc('7.2'), 'qemu'), /launchSecurity: needs a domain of type kvm/],
    ['where QEMU finds none', () => built(whole(), recorded('7.2')), /finds no AMD SEV on this host/],
    [
      'of another architecture',
      () => built(`<launchSecurity type='s390-pv'/>`),
      /'s390-pv' is only there on s390x/,
    ],
  ])('is refused %s', (_, build, words) => {
    expect(build).toThrow(words);
  });

  it('is refused where QEMU cannot measure the kernel', () => {
    const old = onEpyc('7.2');
    const schema = old.schema.filter((member) => !member.endsWith('kernel-hashes'));
    expect(() => built(whole(` kernelHashes='yes'`), { ...old, schema })).toThrow(
      /no property 'kernel-hashes'/,
    );
  });
});
