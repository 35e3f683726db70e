/** Guests whose memory their host cannot read (AMD SEV): what a verifier asks of them, and secrets for them. */
import { VirtError } from '../../base/errors.ts';
import type { LaunchMeasurement, LaunchSecret } from '../../drivers/driver.ts';
import { type SevKind, sevKind } from '../../model/domain/launch-security.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { type DomainWorld, runJob } from './world.ts';

export class DomainLaunchSecurity {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** Which of AMD's three generations a domain has; undefined: its memory is open to the host. */
  kind(domain: Domain): SevKind | undefined {
    return sevKind(this.definitions.definition(domain, { inactive: false }).launchSecurity);
  }

  /**
   * How the start of a running guest was measured.
   * @throws VirtError domain.inactive, qmp.failed; request.unsupported for a guest without AMD's launch security
   */
  async measurement(domain: Domain): Promise<LaunchMeasurement> {
    const wanted = 'tell the launch measurement of';
    if (this.kind(domain) === undefined) throw notEncrypted(domain, wanted);
    return domain.requireLive(wanted).guest.launchSecurity.measurement();
  }

  /**
   * Hands a secret to a guest that was started paused and has not run yet.
   * @throws VirtError domain.inactive, domain.state when it is not paused, domain.busy, qmp.failed;
   *   request.unsupported for any guest but one with SEV or SEV-ES
   */
  async setSecret(
    domain: Domain,
    secret: LaunchSecret,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const verb = 'set the launch secret of';
    const kind = this.kind(domain);
    if (kind === undefined || kind === 'sev-snp') throw notEncrypted(domain, verb);
    await runJob(
      this.world,
      domain,
      verb,
      async () => {
        const { guest } = domain.requireLive(verb);
        if (guest.state.state !== 'paused')
          throw new VirtError('domain.state', {
            wanted: `${verb} domain '${domain.name}'`,
            reason: 'domain is not paused',
            hint: `a secret is given before the first instruction: 'vireo start --paused ${domain.name}'`,
          });
        await guest.launchSecurity.injectSecret(secret);
      },
      options,
    );
  }
}

function notEncrypted(domain: Domain, verb: string): VirtError {
  return new VirtError('request.unsupported', {
    wanted: `${verb} domain '${domain.name}'`,
    reason: 'it has no launch security of the kind SEV',
    hint: "add <launchSecurity type='sev'> to its definition; 'vireo host sev' tells whether this host can do it",
  });
}
