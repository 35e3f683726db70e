/** Secrets: lists, lookups, definitions and values. */
import { isVirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireSecret } from '../../../../libvirt/protocol/objects.ts';
import {
  type CompleteSecretDef,
  parseSecret,
  type SecretReference,
  type SecretUsageType,
} from '../../../../model/secret/secret.ts';
import { identityOf, type SecretIdentity } from '../../../services/secret-service.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { atMost, checkFlags } from './support.ts';

/** virConnectListAllSecretsFlags. */
const filter = { ephemeral: 1, noEphemeral: 2, private: 4, noPrivate: 8 } as const;

const DEFINE_VALIDATE = 1; // virSecretDefineFlags

/** virSecretUsageType; the first stands for no use in particular. */
const usageTypes: readonly (SecretUsageType | null)[] = [null, 'volume', 'ceph', 'iscsi', 'tls', 'vtpm'];

/** A secret's name on the wire. */
export function wireSecretOf({ uuid, usageType, usage }: SecretIdentity): WireSecret {
  return { uuid, usageType: usageTypes.indexOf(usageType), usageId: usage ?? '' };
}

const wireOf = (secret: CompleteSecretDef) => wireSecretOf(identityOf(secret));

/** @throws LibvirtError no secret: `reason` */
function findSecret(engine: Engine, reference: SecretReference, reason: string): CompleteSecretDef {
  try {
    return engine.secrets.find(reference);
  } catch (error) {
    if (!isVirtError(error, 'secret.not-found')) throw error;
    throw new LibvirtError(errorNumber.noSecret, reason, errorDomain.secret);
  }
}

/** The secret a client means: its uuid decides. @throws LibvirtError no secret */
function secretOf(engine: Engine, { uuid }: Pick<WireSecret, 'uuid'>): CompleteSecretDef {
  return findSecret(engine, { uuid }, `no secret with matching uuid '${uuid}'`);
}

export function secretHandlers(engine: Engine) {
  return {
    ...lists(engine),
    ...lookups(engine),
    ...definitions(engine),
    ...values(engine),
  } satisfies RemoteHandlers;
}

function lists(engine: Engine) {
  const { secrets } = engine;
  return {
    connectNumOfSecrets: () => ({ num: secrets.list().length }),
    connectListSecrets: ({ maxuuids }) => ({
      uuids: atMost(
        secrets.list().map(({ uuid }) => uuid),
        maxuuids,
      ),
    }),
    connectListAllSecrets: ({ needResults, flags }, call) => {
      checkFlags(flags, 0xf, call);
      const found = secrets.list({
        ephemeral: wanted(flags, filter.ephemeral, filter.noEphemeral),
        private: wanted(flags, filter.private, filter.noPrivate),
      });
      return { secrets: needResults === 0 ? [] : found.map(wireOf), ret: found.length };
    },
  } satisfies RemoteHandlers;
}

/** Of a pair of flags: both, like none, ask for nothing. */
function wanted(flags: number, yes: number, no: number): boolean | undefined {
  const asked = flags & (yes | no);
  return asked === 0 || asked === (yes | no) ? undefined : asked === yes;
}

function lookups(engine: Engine) {
  return {
    secretLookupByUuid: ({ uuid }) => ({ secret: wireOf(secretOf(engine, { uuid })) }),
    secretLookupByUsage: ({ usageType, usageId }) => {
      const reason = `no secret with matching usage '${usageId}'`;
      const type = usageTypes[usageType];
      // A secret for nothing in particular has no usage to be found by.
      if (type === undefined || type === null)
        throw new LibvirtError(errorNumber.noSecret, reason, errorDomain.secret);
      return { secret: wireOf(findSecret(engine, { type, usage: usageId }, reason)) };
    },
  } satisfies RemoteHandlers;
}

function definitions(engine: Engine) {
  const { secrets } = engine;
  return {
    secretDefineXml: async ({ xml, flags }, call) => {
      checkFlags(flags, DEFINE_VALIDATE, call);
      // With the flag what is not known is an error; without it, it is left out, as libvirt does.
      if ((flags & DEFINE_VALIDATE) !== 0) parseSecret(xml, { mode: 'strict' });
      const { secret } = await secrets.define(xml, 'lenient');
      return { secret: wireOf(secret) };
    },
    secretUndefine: async ({ secret }) => {
      await secrets.undefine({ uuid: secretOf(engine, secret).uuid });
    },
    secretGetXmlDesc: ({ secret, flags }, call) => {
      checkFlags(flags, 0, call);
      return { xml: secrets.xml(secretOf(engine, secret)) };
    },
  } satisfies RemoteHandlers;
}

/** Connections that only read come to neither call: showing a value needs the right "read secure". */
function values(engine: Engine) {
  const { secrets } = engine;
  return {
    secretSetValue: async ({ secret, value, flags }, call) => {
      checkFlags(flags, 0, call);
      const { uuid } = secretOf(engine, secret);
      await secrets.setValue({ uuid }, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    },
    secretGetValue: ({ secret, flags }, call) => {
      checkFlags(flags, 0, call);
      const { uuid } = secretOf(engine, secret);
      return { value: secrets.value({ uuid }) };
    },
  } satisfies RemoteHandlers;
}
