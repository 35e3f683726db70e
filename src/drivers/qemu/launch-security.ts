/** Guests whose memory is encrypted: whether this host can have them, what is filled in at their start, what is asked of them. */
import { stat } from 'node:fs/promises';
import { VirtError } from '../../base/errors.ts';
import { hostFiles } from '../../kvm/host-files.ts';
import { SEV_DEVICE, sevGroupsOf, sevProblem } from '../../kvm/sev.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type LaunchSecurity, type SevKind, sevKind } from '../../model/domain/launch-security.ts';
import type { LaunchMeasurement, LaunchSecret, LiveLaunchSecurity } from '../driver/launch-security.ts';
import type { QemuDriverOptions } from './options.ts';
import type { QemuCapabilities } from './probe/types.ts';
import type { QmpClient } from './qmp/client.ts';

const generations = { sev: 'sev', 'sev-es': 'sev_es', 'sev-snp': 'sev_snp' } as const satisfies Record<
  SevKind,
  string
>;

/**
 * Refuses a definition with AMD's launch security on a host that cannot have it, with what repairs that.
 * @throws VirtError definition.unsupported
 */
export function checkSev(
  options: Pick<QemuDriverOptions, 'mode' | 'hostArch' | 'hostFiles'>,
  definition: DomainDef,
): void {
  const kind = sevKind(definition.launchSecurity);
  // Under TCG there is none anywhere: that is for the command line to say.
  if (kind === undefined || definition.type !== 'kvm') return;
  const problem = sevProblem(options.hostFiles ?? hostFiles(), generations[kind], {
    arch: options.hostArch,
    guestsUnprivileged: options.mode === 'system' && process.getuid?.() === 0,
  });
  if (problem === undefined) return;
  throw new VirtError('definition.unsupported', {
    wanted: `encrypt the memory of '${definition.name}'`,
    reason: `launchSecurity: ${problem.reason}`,
    hint: problem.repair,
    details: { problems: [{ path: 'launchSecurity', message: problem.reason }] },
  });
}

/** The groups a guest's QEMU needs to open the secure processor's node, which it does by itself (target/i386/sev.c). */
export async function sevGroups(definition: DomainDef): Promise<number[]> {
  if (sevKind(definition.launchSecurity) === undefined) return [];
  // checkSev has looked; a node that went in between is for QEMU to miss.
  const node = await stat(SEV_DEVICE).catch(() => undefined);
  return (node && sevGroupsOf(node)) ?? [];
}

/** The definition as it runs says where encryption happens, as QEMU found it, unless it said so before. */
export function withSevPlatform(definition: DomainDef, capabilities: QemuCapabilities): DomainDef {
  const security = definition.launchSecurity;
  const sev = capabilities.accelerators.kvm?.sev;
  if (sev === undefined || (security?.type !== 'sev' && security?.type !== 'sev-snp')) return definition;
  const { cbitpos = sev.cbitpos, reducedPhysBits = sev.reducedPhysBits } = security;
  return { ...definition, launchSecurity: { ...security, cbitpos, reducedPhysBits } };
}

/** What a verifier asks of a guest whose memory is encrypted. */
export class QemuLaunchSecurity implements LiveLaunchSecurity {
  private readonly qmp: () => QmpClient;
  private readonly security: () => LaunchSecurity | undefined;

  constructor(qmp: () => QmpClient, security: () => LaunchSecurity | undefined) {
    this.qmp = qmp;
    this.security = security;
  }

  async measurement(): Promise<LaunchMeasurement> {
    const qmp = this.qmp();
    const facts = await qmp.execute('query-sev');
    // SEV-SNP guests are not measured by their host: they ask the processor for a report by themselves.
    const isSnp = (facts['sev-type'] ?? this.security()?.type) === 'sev-snp';
    const measured = isSnp ? undefined : await qmp.execute('query-sev-launch-measure');
    return {
      apiMajor: facts['api-major'],
      apiMinor: facts['api-minor'],
      buildId: facts['build-id'],
      state: facts.state,
      policy: (isSnp ? facts['snp-policy'] : facts.policy) ?? 0,
      ...(measured && { measurement: measured.data }),
    };
  }

  async injectSecret({ header, secret, address }: LaunchSecret): Promise<void> {
    await this.qmp().execute('sev-inject-launch-secret', {
      'packet-header': header,
      secret,
      ...(address !== undefined && { gpa: address }),
    });
  }
}
