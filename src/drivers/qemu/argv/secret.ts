/** Secrets that QEMU needs: objects that read their value from a descriptor, so that no command line ever holds one. */
import type { DiskAuth, Encryption } from '../../../model/domain/devices/source.ts';
import type { SecretReference, SecretUsageType } from '../../../model/secret/secret.ts';
import type { Build } from './context.ts';

interface Named {
  readonly uuid?: string | undefined;
  readonly usage?: string | undefined;
}

/** Adds a secret object; the answer is its id (QEMU docs, system/secrets: `file`). Undefined when the reference is wrong. */
function addSecret(
  b: Build,
  wish: { readonly id: string; readonly named: Named; readonly type: SecretUsageType; readonly path: string },
): string | undefined {
  const { id, named, type, path } = wish;
  const reference = referenceOf(named, type);
  if (reference === undefined) {
    b.problem(path, 'needs either uuid or usage');
    return undefined;
  }
  const fd = b.need({ kind: 'secret', reference, purpose: path });
  b.object(path, { 'qom-type': 'secret', id, file: `/proc/self/fd/${fd}` });
  return id;
}

function referenceOf({ uuid, usage }: Named, type: SecretUsageType): SecretReference | undefined {
  if (uuid !== undefined && usage === undefined) return { uuid };
  return usage !== undefined && uuid === undefined ? { type, usage } : undefined;
}

/** Adds the passphrase of an encrypted image; the answer is the secret's id. Only LUKS by QEMU itself is offered. */
export function addPassphrase(
  b: Build,
  encryption: Encryption,
  { node, path }: { readonly node: string; readonly path: string },
): string | undefined {
  const at = `${path}.encryption`;
  if (encryption.format !== 'luks')
    b.problem(`${at}.format`, `'${encryption.format}' is not supported; luks is`);
  if (encryption.engine === 'librbd') b.problem(`${at}.engine`, "'librbd' is not supported; qemu is");
  b.refuse(
    at,
    { cipher: encryption.cipher, ivgen: encryption.ivgen },
    'says how a volume is made; an image that is there tells it itself',
  );
  const [secret, ...others] = encryption.secrets;
  if (secret === undefined || others.length > 0) {
    b.problem(`${at}.secret`, 'is needed exactly once');
    return undefined;
  }
  return addSecret(b, { id: `${node}-luks-secret0`, named: secret, type: 'volume', path: `${at}.secret` });
}

/** Adds the key of a network source; the answer is the secret's id. */
export function addCredentials(
  b: Build,
  auth: DiskAuth,
  { node, type, path }: { readonly node: string; readonly type: 'ceph' | 'iscsi'; readonly path: string },
): string | undefined {
  const at = `${path}.auth.secret`;
  if (auth.secret === undefined) b.problem(at, 'is missing');
  else if (auth.secret.type !== type) b.problem(`${at}.type`, `must be ${type} for this protocol`);
  else return addSecret(b, { id: `${node}-auth-secret0`, named: auth.secret, type, path: at });
  return undefined;
}
