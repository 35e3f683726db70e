/** Secrets of guests whose memory the host cannot read (AMD SEV). No guest here is one: definitions with it are refused. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { type ParamTable, readParams } from './params.ts';
import { checkFlags, domainOf } from './support.ts';

/** virTypedParameterFlags: the client takes texts. */
const STRING_OKAY = 4;

/** VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_* (libvirt-domain.h). */
const secretTable: ParamTable = {
  'sev-secret-header': 'string',
  'sev-secret': 'string',
  'sev-secret-set-address': 'ullong',
};

/** As libvirt answers of a guest without launch security: nothing to tell, and no secret to take. */
export function launchSecurityHandlers(engine: Engine) {
  return {
    domainGetLaunchSecurityInfo: ({ dom, flags }, call) => {
      checkFlags(flags, STRING_OKAY, call);
      domainOf(engine, dom);
      return { params: [] };
    },
    domainSetLaunchSecurityState: ({ dom, params, flags }, call) => {
      checkFlags(flags, 0, call);
      readParams(params, secretTable);
      const { name } = domainOf(engine, dom);
      throw new LibvirtError(
        errorNumber.operationUnsupported,
        `setting a launch secret: domain '${name}' has no launch security of the kind SEV`,
      );
    },
  } satisfies RemoteHandlers;
}
