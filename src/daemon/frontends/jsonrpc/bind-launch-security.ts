/** Methods around guests with encrypted memory onto the service. */
import type { DomainRef } from '../../../api/domain-objects.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { Handlers } from './handlers.ts';

type LaunchSecurityHandlers = Pick<Handlers, 'domain.launch-security' | 'domain.set-launch-secret'>;

const nothing = {
  state: null,
  policy: null,
  apiMajor: null,
  apiMinor: null,
  buildId: null,
  measurement: null,
};

export function bindLaunchSecurity(domains: DomainService): LaunchSecurityHandlers {
  const find = (ref: DomainRef): Domain =>
    typeof ref === 'string' ? domains.findByText(ref) : domains.find({ id: ref.id });
  return {
    'domain.launch-security': async ({ domain }) => {
      const found = find(domain);
      const kind = domains.launchSecurity.kind(found);
      if (kind === undefined) return { kind: null, ...nothing };
      const facts = await domains.launchSecurity.measurement(found);
      return { ...facts, kind, measurement: facts.measurement ?? null };
    },
    'domain.set-launch-secret': async ({ domain, header, secret, address }, { signal }) => {
      const given = { header, secret, ...(address !== undefined && { address }) };
      await domains.launchSecurity.setSecret(find(domain), given, { signal });
      return {};
    },
  };
}
