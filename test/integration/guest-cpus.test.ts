/** The CPUs of guests with a real QEMU under TCG: what QEMU takes, gives, and what then stands in the running definition. */
import { expect, it } from 'vitest';
import type { LiveGuest } from '../../src/drivers/driver.ts';
import { driverRig } from '../support/driver-rig.ts';
import { describeWith } from '../support/needs.ts';

const rig = driverRig();

/** Features that QEMU was asked for and could not give. */
async function notGiven(guest: LiveGuest): Promise<unknown> {
  const [cpu] = (await guest.monitorCommand('query-cpus-fast')) as { 'qom-path': string }[];
  return guest.monitorCommand('qom-get', { path: cpu?.['qom-path'], property: 'unavailable-features' });
}

const paused = { paused: true };

describeWith(['qemu-system-x86_64'], 'the CPU of a guest', () => {
  it('that follows the host is a named model while it runs, and all of it is there', async () => {
    const guest = await rig.start({ cpu: `<cpu mode='host-model'/>` }, paused);
    const { cpu } = guest.definition;
    expect(cpu).toMatchObject({ mode: 'custom', match: 'exact', check: 'partial', vendor: 'AMD' });
    // TCG's own CPU is of AMD's making in all versions of QEMU, and nearer to an EPYC than to any older one.
    expect(cpu?.model).toMatchObject({ name: expect.stringMatching(/^EPYC/) as unknown, fallback: 'forbid' });
    expect(await notGiven(guest)).toEqual([]);
  });

  it('of no less than a model is the host’s, and optional features are there or not', async () => {
    const features = `<feature policy='optional' name='aes'/><feature policy='optional' name='avx512f'/>`;
    const guest = await rig.start(
      { cpu: `<cpu mode='custom' match='minimum'><model>qemu64</model>${features}</cpu>` },
      paused,
    );
    const { cpu } = guest.definition;
    expect(cpu?.model?.name).toMatch(/^EPYC/);
    expect(cpu?.features).toEqual(
      expect.arrayContaining([
        { policy: 'require', name: 'aes' },
        { policy: 'disable', name: 'avx512f' },
      ]),
    );
    expect(await notGiven(guest)).toEqual([]);
  });

  it.each([`<cache mode='disable'/>`, `<cache level='3' mode='emulate'/>`])(
    'of a named model starts with %s',
    async (cache) => {
      const guest = await rig.start(
        { cpu: `<cpu mode='custom' match='exact'><model>qemu64</model>${cache}</cpu>` },
        paused,
      );
      expect(guest.state.state).toBe('paused');
    },
  );

  it('that the host cannot give is refused where it is checked', async () => {
    const wish = (check: string) => ({
      cpu: `<cpu mode='custom' match='exact' check='${check}'><model>Icelake-Server</model></cpu>`,
    });
    await expect(rig.define(wish('partial'))).rejects.toMatchObject({
      code: 'definition.unsupported',
      reason: expect.stringMatching(/does not provide .*avx512f/) as unknown,
    });
    await expect(rig.define(wish('none'))).resolves.toMatchObject({ cpu: { check: 'none' } });
  });

  it.each(['sev', 'sev-snp'] as const)(
    'can be asked to encrypt memory: QEMU takes the object of %s',
    async (type) => {
      const guest = await rig.start({}, paused);
      const { objects } = await rig.capabilities(guest);
      const properties = {
        sev: { policy: 5, 'kernel-hashes': true, 'dh-cert-file': '/dev/null', 'session-file': '/dev/null' },
        'sev-snp': {
          policy: 0x30000,
          'kernel-hashes': true,
          'guest-visible-workarounds': Buffer.alloc(16).toString('base64'),
          'id-block': Buffer.alloc(96).toString('base64'),
          'id-auth': Buffer.alloc(4096).toString('base64'),
          'host-data': Buffer.alloc(32).toString('base64'),
          'author-key-enabled': true,
          'vcek-disabled': true,
        },
      }[type];
      const object = {
        'qom-type': `${type}-guest`,
        id: 'lsec0',
        cbitpos: 51,
        'reduced-phys-bits': 1,
        ...properties,
      };
      const added = guest.monitorCommand('object-add', object);
      // SEV-SNP came with QEMU 9.1.
      if (!objects.includes(`${type}-guest`)) return expect(added).rejects.toThrow('sev-snp-guest');
      expect(await added).toEqual({});
      await guest.monitorCommand('object-del', { id: 'lsec0' });
    },
  );

  it('cannot have its memory encrypted under TCG, and is told so', async () => {
    const security = `<launchSecurity type='sev'><policy>0x0001</policy></launchSecurity>`;
    await expect(rig.define({ cpu: security })).rejects.toMatchObject({
      code: 'definition.unsupported',
      reason: expect.stringContaining('launchSecurity: needs a domain of type kvm') as unknown,
    });
  });
});
