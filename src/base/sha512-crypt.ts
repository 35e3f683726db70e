/** SHA-512 crypt, the hash of passwords in /etc/shadow (Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", 0.6). */
import { createHash, randomBytes } from 'node:crypto';

/** What is taken when a hash does not say how many. */
const ROUNDS = 5000;
/** crypt(3)'s own order of base 64. */
const DIGITS = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SALT_CHARS = 16;

const sha512 = (...parts: readonly Buffer[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha512')).digest();

/** `length` bytes of `block`, over and over. */
function stretched(block: Buffer, length: number): Buffer {
  return Buffer.alloc(length, block);
}

/** `$6$SALT$HASH`. Step numbers are those of the document. */
export function sha512Crypt(password: string, salt: string = newSalt()): string {
  const key = Buffer.from(password);
  const saltBytes = Buffer.from(salt).subarray(0, SALT_CHARS);
  const alternate = sha512(key, saltBytes, key); // 4 to 8
  const parts = [key, saltBytes, stretched(alternate, key.length)]; // 1 to 3, 9, 10
  for (let bits = key.length; bits > 0; bits >>= 1) parts.push((bits & 1) === 1 ? alternate : key); // 11
  let digest = sha512(...parts);
  const p = key.length === 0 ? key : stretched(sha512(...Array<Buffer>(key.length).fill(key)), key.length); // 13 to 16
  const saltRounds = Array<Buffer>(16 + (digest[0] ?? 0)).fill(saltBytes);
  const s = stretched(sha512(...saltRounds), saltBytes.length); // 17 to 20
  for (let round = 0; round < ROUNDS; round++) {
    const isOdd = round % 2 === 1;
    digest = sha512(
      isOdd ? p : digest,
      ...(round % 3 === 0 ? [] : [s]),
      ...(round % 7 === 0 ? [] : [p]),
      isOdd ? digest : p,
    );
  }
  return `$6$${saltBytes.toString()}$${encode(digest)}`;
}

/** 22: three bytes at a time, of which each next group begins 21 bytes on. */
function encode(digest: Buffer): string {
  let text = '';
  let [a, b, c] = [0, 21, 42];
  for (let group = 0; group < 21; group++) {
    text += digits(((digest[a] ?? 0) << 16) | ((digest[b] ?? 0) << 8) | (digest[c] ?? 0), 4);
    [a, b, c] = [b + 1, c + 1, a + 1];
  }
  return text + digits(digest[63] ?? 0, 2);
}

/** The lowest six bits first. */
function digits(value: number, count: number): string {
  return Array.from({ length: count }, (_, index) => DIGITS[(value >> (6 * index)) & 63] ?? '').join('');
}

function newSalt(): string {
  return Array.from(randomBytes(SALT_CHARS), (byte) => DIGITS[byte & 63] ?? '').join('');
}
