/** Passphrases of encrypted images on their way to qemu-img: in sealed memory by descriptor, in no argument. */
import { close } from '../base/ffi/files.ts';
import { sealedMemory } from '../base/sealed-memory.ts';
import { descriptorName } from './qemu-img.ts';

/** What unlocks an image. */
export interface Passphrase {
  /**
   * The value, in a buffer that the caller fills with zeros.
   * @throws VirtError secret.not-found, secret.no-value
   */
  read(): Promise<Buffer>;
}

/** How a new image is encrypted; what is left out is QEMU's choice (aes-256, xts, plain64, sha256). */
export interface ImageEncryption {
  readonly passphrase: Passphrase;
  /** QEMU's words: `aes-256`. */
  readonly cipher?: string;
  /** `xts`, `cbc`, `ctr`, `ecb`. */
  readonly mode?: string;
  /** `sha256`. */
  readonly hash?: string;
  /** `plain64`, `plain`, `essiv`. */
  readonly ivgen?: string;
  readonly ivgenHash?: string;
}

/** Passphrases in memory, as qemu-img's secret objects; they are gone when this is disposed of. */
export class SecretObjects implements Disposable {
  /** `--object` arguments. */
  readonly args: string[] = [];
  readonly files: { readonly fd: number }[] = [];
  private readonly firstIndex: number;

  /** `firstIndex`: how many files qemu-img gets before these. */
  constructor(firstIndex: number) {
    this.firstIndex = firstIndex;
  }

  /** Adds one; the answer is its id (QEMU docs, system/secrets: `file`). @throws VirtError secret.*, system.call */
  async add(passphrase: Passphrase): Promise<string> {
    const value = await passphrase.read();
    try {
      this.files.push({ fd: sealedMemory('vireo-passphrase', value) });
    } finally {
      value.fill(0);
    }
    const id = `secret${this.files.length - 1}`;
    const name = descriptorName(this.firstIndex + this.files.length - 1);
    this.args.push('--object', `secret,id=${id},file=${name}`);
    return id;
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.files.splice(0)) close(fd);
  }
}

/** Options of the format, for `-o`; luks takes them as they are, qcow2 below `encrypt.` (QEMU qapi/crypto.json). */
export function encryptionOptions(format: string, encryption: ImageEncryption, secretId: string): string[] {
  const { cipher, mode, hash, ivgen, ivgenHash } = encryption;
  const prefix = format === 'qcow2' ? 'encrypt.' : '';
  const options: Record<string, string | undefined> = {
    ...(format === 'qcow2' && { format: 'luks' }),
    'key-secret': secretId,
    'cipher-alg': cipher,
    'cipher-mode': mode,
    'hash-alg': hash,
    'ivgen-alg': ivgen,
    'ivgen-hash-alg': ivgenHash,
  };
  return Object.entries(options).flatMap(([key, value]) =>
    value === undefined ? [] : [`${prefix}${key}=${value}`],
  );
}
