/** Secret methods onto the secret service. */
import type { Result } from '../../../api/index.ts';
import { type CompleteSecretDef, parseSecretReference } from '../../../model/secret/secret.ts';
import { identityOf, type SecretService } from '../../services/secret-service.ts';
import { quarantinedOf } from './domain-shapes.ts';
import type { Handlers } from './handlers.ts';

type SecretHandlers = Pick<Handlers, Extract<keyof Handlers, `secret.${string}`>>;

export function bindSecrets(secrets: SecretService): SecretHandlers {
  return {
    'secret.list': async (filter) => ({
      secrets: secrets.list(filter).map((one) => summaryOf(secrets, one)),
      quarantined: secrets.quarantined.map((file) => quarantinedOf(file)),
    }),
    'secret.get': async ({ secret }) => summaryOf(secrets, secrets.find(parseSecretReference(secret))),
    'secret.xml': async ({ secret }) => ({ xml: secrets.xml(secrets.find(parseSecretReference(secret))) }),
    'secret.define': async ({ xml, strict }) => {
      const { secret, dropped } = await secrets.define(xml, strict ? 'strict' : 'lenient', { byName: true });
      return { secret: summaryOf(secrets, secret), dropped: [...dropped] };
    },
    'secret.undefine': ({ secret }) => secrets.undefine(parseSecretReference(secret)),
    'secret.set-value': ({ secret, value }) =>
      secrets.setValue(parseSecretReference(secret), Buffer.from(value, 'base64')),
    'secret.value': async ({ secret }) => {
      const value = secrets.value(parseSecretReference(secret));
      try {
        return { value: value.toString('base64') };
      } finally {
        value.fill(0);
      }
    },
  };
}

function summaryOf(secrets: SecretService, secret: CompleteSecretDef): Result<'secret.get'> {
  return {
    ...identityOf(secret),
    description: secret.description ?? null,
    ephemeral: secret.ephemeral,
    private: secret.private,
    hasValue: secrets.hasValue(secret),
  };
}
