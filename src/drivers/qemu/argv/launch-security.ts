/** AMD SEV: the object that encrypts the guest's memory (QEMU docs, system/i386/amd-memory-encryption). */
import type { LaunchSecurity, SevSecurity } from '../../../model/domain/launch-security.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** libvirt's id of the object. */
const ID = 'lsec0';

/** Where encryption is said to happen. */
interface Platform {
  readonly cbitpos: number;
  readonly 'reduced-phys-bits': number;
}

/** Adds the object; the answer is its id for `-machine confidential-guest-support=`, undefined when there is none. */
export function buildLaunchSecurity(b: Build): string | undefined {
  const security = b.definition.launchSecurity;
  if (security === undefined) return undefined;
  if (!isAmd(security)) {
    b.problem('launchSecurity.type', `'${security.type}' is only there on s390x, which is not supported`);
    return undefined;
  }
  const platform = platformOf(b, security);
  if (platform === undefined) return undefined;
  if (security.type === 'sev') buildSev(b, security, platform);
  else buildSevSnp(b, security, platform);
  return ID;
}

function isAmd(security: LaunchSecurity): security is SevSecurity {
  return security.type === 'sev' || security.type === 'sev-snp';
}

/** What the definition says of the processor, or else what QEMU found; undefined where there can be no such guest. */
function platformOf(b: Build, security: SevSecurity): Platform | undefined {
  if (b.arch !== 'x86_64') b.problem('launchSecurity.type', `'${security.type}' is only there on x86_64`);
  else if (!b.isKvm) b.problem('launchSecurity', 'needs a domain of type kvm');
  else {
    const found = b.accelerator?.sev;
    if (found !== undefined)
      return {
        cbitpos: security.cbitpos ?? found.cbitpos,
        'reduced-phys-bits': security.reducedPhysBits ?? found.reducedPhysBits,
      };
    b.problem('launchSecurity', 'QEMU finds no AMD SEV on this host');
  }
  return undefined;
}

type Sev = Extract<SevSecurity, { readonly type: 'sev' }>;
type SevSnp = Extract<SevSecurity, { readonly type: 'sev-snp' }>;

function buildSev(b: Build, security: Sev, platform: Platform): void {
  const { policy, handle, dhCert, session } = security;
  const at = 'launchSecurity';
  b.object(at, {
    'qom-type': 'sev-guest',
    id: ID,
    ...platform,
    policy,
    handle,
    'dh-cert-file': dhCert === undefined ? undefined : b.text(dhCert, `${at}.dhCert`),
    'session-file': session === undefined ? undefined : b.text(session, `${at}.session`),
    ...kernelHashes(b, 'sev-guest', security),
  });
}

function buildSevSnp(b: Build, security: SevSnp, platform: Platform): void {
  b.object('launchSecurity', {
    'qom-type': 'sev-snp-guest',
    id: ID,
    ...platform,
    ...kernelHashes(b, 'sev-snp-guest', security),
    policy: security.policy,
    'guest-visible-workarounds': security.guestVisibleWorkarounds,
    'id-block': security.idBlock,
    'id-auth': security.idAuth,
    'host-data': security.hostData,
    'author-key-enabled': security.authorKey,
    'vcek-disabled': security.vcek === undefined ? undefined : !security.vcek,
  });
}

/** Hashes of kernel, initrd and command line go into what is measured; since QEMU 6.2. */
function kernelHashes(b: Build, object: string, { kernelHashes: wanted }: SevSecurity): JsonObject {
  if (wanted === undefined) return {};
  if (!b.hasSchema(`object-add/arg-type/+${object}/kernel-hashes`))
    b.lacks('launchSecurity.kernelHashes', `property 'kernel-hashes' of object '${object}'`);
  return { 'kernel-hashes': wanted };
}
