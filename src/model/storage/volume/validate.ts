/** What goes together in a volume that is to be made; all findings at once. */
import type { Problem } from '../../../base/errors.ts';
import type { VolumeDef } from './volume.ts';

/** The largest image that anything here makes: QEMU's own limit for a disk is below 2^63, a number holds 2^53. */
const MAX_BYTES = Number.MAX_SAFE_INTEGER;

/** Findings about a description for a create; an empty list means that it is sound. A copy may be locked as its source is. */
export function validateNewVolume(
  volume: VolumeDef,
  {
    isCopy = false,
    preallocateMetadata = false,
  }: { readonly isCopy?: boolean; readonly preallocateMetadata?: boolean } = {},
): Problem[] {
  const { capacityBytes, allocationBytes, target, backingStore } = volume;
  const format = target.format?.type ?? 'raw';
  const problems: Problem[] = [];
  const refuse = (path: string, message: string) => problems.push({ path, message });
  if (capacityBytes === undefined && backingStore === undefined) refuse('capacity', 'is missing');
  if ((capacityBytes ?? 0) > MAX_BYTES) refuse('capacity', 'is out of range');
  if (
    allocationBytes !== undefined &&
    capacityBytes !== undefined &&
    format === 'raw' &&
    allocationBytes > capacityBytes
  )
    refuse('allocation', 'is more than the capacity');
  if (preallocateMetadata && format !== 'qcow2')
    refuse('target.format', `metadata preallocation is not supported for ${format} volumes`);
  if (backingStore !== undefined && format === 'raw')
    refuse('backingStore', 'a raw volume has no backing store; use qcow2');
  if (backingStore !== undefined && backingStore.format === undefined)
    refuse('backingStore.format', 'is missing: the format of a backing store is never guessed');
  problems.push(...qcow2Problems(volume, format), ...encryptionProblems(volume, format, isCopy));
  return problems;
}

function qcow2Problems({ target }: VolumeDef, format: string): Problem[] {
  const problems: Problem[] = [];
  const { compat, clusterSizeBytes, features } = target;
  const parts = { compat, clusterSize: clusterSizeBytes, features };
  if (format !== 'qcow2') {
    for (const [name, value] of Object.entries(parts))
      if (value !== undefined)
        problems.push({ path: `target.${name}`, message: `goes with qcow2 only, not with ${format}` });
    return problems;
  }
  if (compat !== undefined && compat !== '0.10' && compat !== '1.1')
    problems.push({ path: 'target.compat', message: `'${compat}' is neither 0.10 nor 1.1` });
  if (clusterSizeBytes !== undefined && !isClusterSize(clusterSizeBytes))
    problems.push({ path: 'target.clusterSize', message: 'is no power of two from 512 bytes to 2 MiB' });
  if (compat === '0.10' && features?.lazyRefcounts === true)
    problems.push({ path: 'target.features.lazy_refcounts', message: 'needs compat 1.1' });
  if (compat === '0.10' && features?.extendedL2 === true)
    problems.push({ path: 'target.features.extended_l2', message: 'needs compat 1.1' });
  return problems;
}

const ciphers = /^((aes|serpent|twofish)-(128|192|256)|cast5-128)$/;
const cipherModes = ['cbc', 'ctr', 'ecb', 'xts'];
const ivGenerators = ['plain', 'plain64', 'essiv'];
const hashes = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160'];

/** What QEMU's LUKS knows (qapi/crypto.json): a passphrase and, if need be, words for the algorithms. */
function encryptionProblems({ target, backingStore }: VolumeDef, format: string, isCopy: boolean): Problem[] {
  const { encryption, nocow } = target;
  const problems: Problem[] = [];
  const refuse = (path: string, message: string) => problems.push({ path: `target.${path}`, message });
  if (encryption === undefined) {
    if (format === 'luks' && !isCopy) refuse('encryption', 'is missing: luks is nothing without a secret');
    return problems;
  }
  const { secrets, cipher, ivgen } = encryption;
  if (encryption.format !== 'luks')
    refuse('encryption.format', `'${encryption.format}' cannot be made; luks can`);
  if (encryption.engine === 'librbd') refuse('encryption.engine', "'librbd' is not supported; qemu is");
  if (!['raw', 'luks', 'qcow2'].includes(format))
    refuse('encryption', `goes with raw and qcow2, not with ${format}`);
  if (format === 'raw' && nocow === true) refuse('nocow', 'does not go with encryption');
  if (format === 'luks' && backingStore !== undefined)
    problems.push({ path: 'backingStore', message: 'a luks volume has no backing store; use qcow2' });
  const [secret, ...others] = secrets;
  if (secret === undefined || others.length > 0) refuse('encryption.secret', 'is needed exactly once');
  else if ((secret.uuid === undefined) === (secret.usage === undefined))
    refuse('encryption.secret', 'needs either uuid or usage');
  const known = (path: string, word: string | undefined, words: readonly string[]) => {
    if (word !== undefined && !words.includes(word)) refuse(path, `'${word}' is none of ${words.join(', ')}`);
  };
  if (cipher !== undefined && !ciphers.test(`${cipher.name}-${cipher.sizeBits}`))
    refuse('encryption.cipher', `${cipher.name} of ${cipher.sizeBits} bits is not known; aes of 256 is`);
  known('encryption.cipher.mode', cipher?.mode, cipherModes);
  known('encryption.cipher.hash', cipher?.hash, hashes);
  known('encryption.ivgen.name', ivgen?.name, ivGenerators);
  known('encryption.ivgen.hash', ivgen?.hash, hashes);
  return problems;
}

/** QEMU docs/interop/qcow2.rst: cluster_bits 9 to 21. */
function isClusterSize(bytes: number): boolean {
  return bytes >= 512 && bytes <= 2 * 1024 * 1024 && Number.isInteger(Math.log2(bytes));
}
