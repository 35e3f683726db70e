/** Passphrases of encrypted volumes: how a description names them, and which secret opens a volume that is there. */
import { VirtError } from '../../base/errors.ts';
import type { Encryption } from '../../model/domain/devices/source.ts';
import type { SecretReference, SecretUsageType } from '../../model/secret/secret.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import type { ImageEncryption, Passphrase } from '../../storage/passphrase.ts';
import type { PoolWorld } from './pool-world.ts';

/** What storage asks of secrets. */
export interface SecretSource {
  /**
   * The value, in a buffer that the caller fills with zeros.
   * @throws VirtError secret.not-found, secret.no-value
   */
  valueForUse(reference: SecretReference): Buffer;
  /** The secret that is for that (a volume by its path). */
  uuidFor(type: SecretUsageType, usage: string): string | undefined;
}

/** `<secret type='passphrase' uuid= | usage=/>` of a sound description. */
export function referenceOf({ secrets: [secret] }: Encryption): SecretReference | undefined {
  if (secret?.uuid !== undefined) return { uuid: secret.uuid };
  return secret?.usage === undefined ? undefined : { type: 'volume', usage: secret.usage };
}

/**
 * How a new image is to be encrypted, of a description that was found to be sound. The secret must have a value.
 * @throws VirtError secret.not-found, secret.no-value
 */
export function imageEncryption(
  secrets: SecretSource | undefined,
  encryption: Encryption,
  wanted: string,
): ImageEncryption {
  const { cipher, ivgen } = encryption;
  const reference = referenceOf(encryption);
  const passphrase: Passphrase = { read: async () => valueOf(secrets, reference, wanted) };
  valueOf(secrets, reference, wanted).fill(0);
  return {
    passphrase,
    ...(cipher && { cipher: `${cipher.name}-${cipher.sizeBits}` }),
    ...(cipher?.mode !== undefined && { mode: cipher.mode }),
    ...(cipher?.hash !== undefined && { hash: cipher.hash }),
    ...(ivgen && { ivgen: ivgen.name }),
    ...(ivgen?.hash !== undefined && { ivgenHash: ivgen.hash }),
  };
}

function valueOf(
  secrets: SecretSource | undefined,
  reference: SecretReference | undefined,
  wanted: string,
): Buffer {
  try {
    if (secrets === undefined || reference === undefined)
      throw new VirtError('secret.not-found', { reason: 'there are no secrets here' });
    return secrets.valueForUse(reference);
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    const { code, reason, hint } = error;
    throw new VirtError(code, { wanted, reason, ...(hint !== undefined && { hint }), cause: error });
  }
}

/** The uuid of the secret that is for a volume by its path; this is what its document shows. */
export function secretFor({ secrets }: Pick<PoolWorld, 'secrets'>, volume: VolumeFacts): string | undefined {
  return volume.encryption === 'luks' ? secrets?.uuidFor('volume', volume.path) : undefined;
}

/** What opens a volume: the secret that is for its path, or else the one that a domain's disk names for it. */
export function passphraseOf(world: PoolWorld, volume: VolumeFacts): Passphrase {
  return {
    async read() {
      const wanted = `open volume '${volume.name}'`;
      const own = secretFor(world, volume);
      const reference = own === undefined ? await secretOfDisk(world, volume) : { uuid: own };
      if (reference !== undefined) return valueOf(world.secrets, reference, wanted);
      throw new VirtError('secret.not-found', {
        wanted,
        reason: 'it is encrypted, and no secret is known that opens it',
        hint: `define one with <usage type='volume'><volume>${volume.path}</volume></usage>, or name one in a domain's disk`,
      });
    },
  };
}

async function secretOfDisk(
  world: PoolWorld,
  { path, name }: VolumeFacts,
): Promise<SecretReference | undefined> {
  const isIt = (other: { readonly pool: string; readonly name: string } | undefined): boolean =>
    other?.name === name && world.registry.withName(other.pool)?.live?.volumes.get(name)?.path === path;
  const uses = await world.disks.disks();
  return uses.find(({ secret, paths, volume }) => secret !== undefined && (paths[0] === path || isIt(volume)))
    ?.secret;
}
