/** Secret methods onto the secret service. */
import type { Result } from '../../../api/index.ts';
import {
  type CompleteSecretDef,
  type SecretReference,
  secretUsageTypes,
} from '../../../model/secret/secret.ts';
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
    'secret.get': async ({ secret }) => summaryOf(secrets, secrets.find(referenceOf(secret))),
    'secret.xml': async ({ secret }) => ({ xml: secrets.xml(secrets.find(referenceOf(secret))) }),
    'secret.define': async ({ xml, strict }) => {
      const { secret, dropped } = await secrets.define(xml, strict ? 'strict' : 'lenient');
      return { secret: summaryOf(secrets, secret), dropped: [...dropped] };
    },
    'secret.undefine': ({ secret }) => secrets.undefine(referenceOf(secret)),
    'secret.set-value': ({ secret, value }) =>
      secrets.setValue(referenceOf(secret), Buffer.from(value, 'base64')),
    'secret.value': async ({ secret }) => {
      const value = secrets.value(referenceOf(secret));
      try {
        return { value: value.toString('base64') };
      } finally {
        value.fill(0);
      }
    },
  };
}

/** `TYPE:NAME`, or a uuid. */
function referenceOf(text: string): SecretReference {
  const type = secretUsageTypes.find((word) => text.startsWith(`${word}:`));
  return type === undefined ? { uuid: text } : { type, usage: text.slice(type.length + 1) };
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
