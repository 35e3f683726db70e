/** Guests whose memory their host cannot read (AMD SEV): their measurement, and secrets for them. */
import type { LaunchMeasurement } from '../../../../drivers/driver.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { TypedParam } from '../../../../libvirt/protocol/objects.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { big, type ParamTable, readParams, text, uint } from './params.ts';
import { checkFlags, domainOf, notValid, telling } from './support.ts';

/** virTypedParameterFlags: the client takes texts. */
const STRING_OKAY = 4;

/** VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_* (libvirt-domain.h). */
const secretTable: ParamTable = {
  'sev-secret-header': 'string',
  'sev-secret': 'string',
  'sev-secret-set-address': 'ullong',
};

/** As libvirt answers: of a guest without launch security there is nothing to tell, and it takes no secret. */
export function launchSecurityHandlers(engine: Engine) {
  const { launchSecurity } = engine.domains;
  return {
    domainGetLaunchSecurityInfo: async ({ dom, flags }, call) => {
      checkFlags(flags, STRING_OKAY, call);
      const domain = domainOf(engine, dom);
      const kind = launchSecurity.kind(domain);
      if (kind === undefined) return { params: [] };
      return { params: paramsOf(await launchSecurity.measurement(domain), kind === 'sev-snp') };
    },
    domainSetLaunchSecurityState: async ({ dom, params, flags }, call) => {
      checkFlags(flags, 0, call);
      const given = readParams(params, secretTable);
      const domain = domainOf(engine, dom);
      const [header, secret] = [given.get('sev-secret-header'), given.get('sev-secret')];
      const address = given.get('sev-secret-set-address');
      const kind = launchSecurity.kind(domain);
      if (kind === undefined || kind === 'sev-snp')
        throw new LibvirtError(
          errorNumber.operationUnsupported,
          `setting a launch secret: domain '${domain.name}' has no launch security of the kind SEV`,
        );
      if (typeof header !== 'string' || typeof secret !== 'string')
        throw new LibvirtError(errorNumber.internalError, 'Both secret and the secret header are required');
      await telling(
        'domain.state',
        () => notValid('domain must be in a paused state'),
        () =>
          launchSecurity.setSecret(domain, {
            header,
            secret,
            ...(address !== undefined && { address: Number(address) }),
          }),
      );
    },
  } satisfies RemoteHandlers;
}

/** VIR_DOMAIN_LAUNCH_SECURITY_SEV_* (libvirt-domain.h). */
function paramsOf(facts: LaunchMeasurement, isSnp: boolean): TypedParam[] {
  return [
    ...(facts.measurement === undefined ? [] : [text('sev-measurement', facts.measurement)]),
    uint('sev-api-major', facts.apiMajor),
    uint('sev-api-minor', facts.apiMinor),
    uint('sev-build-id', facts.buildId),
    isSnp ? big('sev-snp-policy', facts.policy) : uint('sev-policy', facts.policy),
  ];
}
