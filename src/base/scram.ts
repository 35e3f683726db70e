/**
 * The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677): two messages of the client's, two of ours. Nothing of a password
 * is ever here: what is kept of a user proves that the client knows it, and no more. No channel binding.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

export const SCRAM_MECHANISM = 'SCRAM-SHA-256';
const HASH = 'sha256';
const KEY_BYTES = 32;
export const SALT_BYTES = 16;
/** RFC 7677 wants 4096 at least; Cyrus' clients, libvirt's among them, compute no more than 65,536. */
export const ITERATIONS = 60_000;
/** Longer messages than any client sends: a name, a nonce, and base64 of what is fixed in size. */
const MAX_MESSAGE_BYTES = 4096;
const MAX_NAME_BYTES = 255;
/** printable ASCII without the comma (RFC 5802, section 7). */
const noncePattern = /^[\x21-\x2b\x2d-\x7e]{8,512}$/;

/** What is kept of a user. */
export interface ScramKeys {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** What the client did not do right; told to the log, never to the client. */
export class ScramError extends Error {}

const hmac = (key: Buffer, text: string | Buffer): Buffer => createHmac(HASH, key).update(text).digest();
const derive = promisify(pbkdf2);

/** The keys of a password, which is prepared as far as Unicode's own forms go (RFC 4013's mapping and NFKC). */
export async function scramKeys(password: string, salt: Buffer, iterations = ITERATIONS): Promise<ScramKeys> {
  const salted = await derive(prepared(password), salt, iterations, KEY_BYTES, HASH);
  const clientKey = hmac(salted, 'Client Key');
  const storedKey = createHash(HASH).update(clientKey).digest();
  const keys = { salt, iterations, storedKey, serverKey: hmac(salted, 'Server Key') };
  salted.fill(0);
  clientKey.fill(0);
  return keys;
}

/** RFC 4013: spaces of all kinds are one, what nobody sees is nothing. */
function prepared(text: string): string {
  return text
    .replace(/\p{Zs}/gu, ' ')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .normalize('NFKC');
}

/** One conversation: `first`, then `final`, each once. */
export class ScramConversation {
  private readonly keysOf: (user: string) => ScramKeys;
  private readonly nonce: string;
  private begun:
    | {
        readonly user: string;
        readonly keys: ScramKeys;
        readonly gs2: string;
        readonly bare: string;
        readonly serverFirst: string;
        readonly nonce: string;
      }
    | undefined;

  /**
   * `keysOf` answers for every name, with keys that nothing fits where there is no such user. `nonce` is ours: printable,
   * never used before.
   */
  constructor(keysOf: (user: string) => ScramKeys, nonce: string) {
    this.keysOf = keysOf;
    this.nonce = nonce;
  }

  /** The name that the client gave; undefined before its first message. */
  get user(): string | undefined {
    return this.begun?.user;
  }

  /** @throws ScramError */
  first(message: Buffer): Buffer {
    if (this.begun !== undefined) throw new ScramError('the first message came twice');
    const text = textOf(message);
    const [, gs2, flag, authzid = '', bare = ''] = /^((n|y|p=[^,]*),(?:a=([^,]*))?,)(.*)$/s.exec(text) ?? [];
    if (gs2 === undefined || flag === undefined) throw new ScramError('the first message has no GS2 header');
    if (flag.startsWith('p=')) throw new ScramError('channel binding is not offered');
    const [, name, clientNonce = ''] = /^n=([^,]*),r=([^,]*)(?:,.*)?$/s.exec(bare) ?? [];
    if (name === undefined) throw new ScramError('the first message is not n=NAME,r=NONCE');
    if (!noncePattern.test(clientNonce))
      throw new ScramError("the client's nonce is not printable, or too short");
    const user = nameOf(name);
    if (authzid !== '' && nameOf(authzid) !== user) throw new ScramError('it wants to be somebody else');
    const keys = this.keysOf(user);
    const nonce = clientNonce + this.nonce;
    const serverFirst = `r=${nonce},s=${keys.salt.toString('base64')},i=${keys.iterations}`;
    this.begun = { user, keys, gs2, bare, serverFirst, nonce };
    return Buffer.from(serverFirst);
  }

  /** Our proof that we know the user too; the client has then proved itself. @throws ScramError */
  final(message: Buffer): Buffer {
    const { begun } = this;
    if (begun === undefined) throw new ScramError('the final message came first');
    const text = textOf(message);
    const [, withoutProof, binding, nonce, proof = ''] =
      /^(c=([^,]*),r=([^,]*)(?:,.*)?),p=([A-Za-z0-9+/=]*)$/s.exec(text) ?? [];
    if (withoutProof === undefined) throw new ScramError('the final message is not c=...,r=...,p=...');
    if (binding !== Buffer.from(begun.gs2).toString('base64'))
      throw new ScramError('its channel binding is another than at first');
    if (nonce !== begun.nonce) throw new ScramError('its nonce is not the one of this conversation');
    const authMessage = `${begun.bare},${begun.serverFirst},${withoutProof}`;
    const { storedKey, serverKey } = begun.keys;
    const signature = hmac(storedKey, authMessage);
    const given = Buffer.from(proof, 'base64');
    const clientKey = Buffer.alloc(KEY_BYTES);
    for (let index = 0; index < KEY_BYTES; index++)
      clientKey[index] = (given[index] ?? 0) ^ (signature[index] ?? 0);
    const isRight = timingSafeEqual(createHash(HASH).update(clientKey).digest(), storedKey);
    clientKey.fill(0);
    if (!isRight || given.length !== KEY_BYTES)
      throw new ScramError('the password is wrong, or there is no such user');
    return Buffer.from(`v=${hmac(serverKey, authMessage).toString('base64')}`);
  }
}

function textOf(message: Buffer): string {
  if (message.length > MAX_MESSAGE_BYTES) throw new ScramError(`a message of ${message.length} bytes`);
  const text = message.toString('utf8');
  if (text.includes('\0') || text.includes('\ufffd')) throw new ScramError('a message that is no text');
  return text;
}

/** RFC 5802's saslname: `=2C` and `=3D` stand for a comma and an equals sign, no other `=` may be there. */
function nameOf(encoded: string): string {
  if (/=(?!2C|3D)/.test(encoded)) throw new ScramError('a name with an equals sign that stands for nothing');
  const name = encoded.replaceAll('=2C', ',').replaceAll('=3D', '=');
  if (name === '' || Buffer.byteLength(name) > MAX_NAME_BYTES)
    throw new ScramError(`a name has 1 to ${MAX_NAME_BYTES} bytes`);
  return name;
}
