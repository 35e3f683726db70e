/** SCRAM-SHA-256 from the server's side, with the example of RFC 7677 and everything a client can get wrong. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ScramConversation, type ScramKeys, scramKeys } from '../../../src/base/scram.ts';

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
const serverNonce = '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
const first = 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO';
const nonce = `rOprNGfwEbeRWgbNEkqO${serverNonce}`;
const final = `c=biws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`;

const keys = await scramKeys('pencil', salt, 4096);
const conversation = (of: ScramKeys = keys) => new ScramConversation(() => of, serverNonce);
const bytes = (text: string) => Buffer.from(text);

/** What a client with that password says in the end. */
function proofOf(password: string, withoutProof: string, serverFirst: string, bare: string): string {
  const salted = pbkdf2Sync(password, salt, 4096, 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const storedKey = createHash('sha256').update(clientKey).digest();
  const signature = createHmac('sha256', storedKey).update(`${bare},${serverFirst},${withoutProof}`).digest();
  return Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0))).toString('base64');
}

describe('SCRAM-SHA-256', () => {
  it('goes as in the example of RFC 7677', () => {
    const server = conversation();
    expect(server.first(bytes(first)).toString()).toBe(`r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`);
    expect(server.user).toBe('user');
    expect(server.final(bytes(final)).toString()).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  });

  it('takes no other password, and no proof of another length', () => {
    for (const proof of [
      proofOf('pencils', `c=biws,r=${nonce}`, `r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`, first.slice(3)),
      'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQAAA==',
      '',
    ]) {
      const server = conversation();
      server.first(bytes(first));
      expect(() => server.final(bytes(`c=biws,r=${nonce},p=${proof}`))).toThrow('the password is wrong');
    }
  });

  it('takes no nonce of another conversation: what was recorded is worth nothing', () => {
    const server = new ScramConversation(() => keys, 'another-nonce-of-ours');
    server.first(bytes(first));
    expect(() => server.final(bytes(final))).toThrow('its nonce is not the one of this conversation');
  });

  it.each([
    ['p=tls-unique,,n=user,r=rOprNGfwEbeRWgbNEkqO', 'channel binding is not offered'],
    ['n,a=root,n=user,r=rOprNGfwEbeRWgbNEkqO', 'somebody else'],
    ['n,,m=ext,n=user,r=rOprNGfwEbeRWgbNEkqO', 'not n=NAME,r=NONCE'],
    ['n,,n=us=er,r=rOprNGfwEbeRWgbNEkqO', 'an equals sign'],
    ['n,,n=,r=rOprNGfwEbeRWgbNEkqO', 'a name has 1 to 255 bytes'],
    ['n,,n=user,r=short', "the client's nonce"],
    ['n,,n=user\0,r=rOprNGfwEbeRWgbNEkqO', 'no text'],
    ['hello', 'no GS2 header'],
    [`n,,n=user,r=${'x'.repeat(5000)}`, 'a message of 5012 bytes'],
  ])('refuses %j as a first message', (text, reason) => {
    expect(() => conversation().first(bytes(text))).toThrow(reason);
  });

  it('refuses a final message that changes what was said before', () => {
    const wrong = [
      // `y,,` in place of `n,,`: somebody between the two has taken channel binding out.
      [`c=eSws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`, 'its channel binding'],
      [`c=biws,r=${nonce}`, 'not c=...,r=...,p=...'],
      [`c=biws,r=${nonce},p=%%%`, 'not c=...,r=...,p=...'],
    ] as const;
    for (const [text, reason] of wrong) {
      const server = conversation();
      server.first(bytes(first));
      expect(() => server.final(bytes(text))).toThrow(reason);
    }
    expect(() => conversation().final(bytes(final))).toThrow('came first');
    const twice = conversation();
    twice.first(bytes(first));
    expect(() => twice.first(bytes(first))).toThrow('came twice');
  });

  it('takes no beginning of a message for the whole', () => {
    // From its eighth character on a nonce is one.
    for (let length = 0; length < 'n,,n=user,r=rOprNGf'.length; length++)
      expect(() => conversation().first(bytes(first).subarray(0, length))).toThrow(/./);
    // Without its last sign, which only fills up, a proof is whole.
    for (let length = 0; length < final.length - 1; length++) {
      const server = conversation();
      server.first(bytes(first));
      expect(() => server.final(bytes(final).subarray(0, length))).toThrow(/./);
    }
  });

  it('knows a password in either of its Unicode forms', async () => {
    const composed = await scramKeys('pass\u00e9word\u00a0x', salt, 4096);
    const decomposed = await scramKeys('passe\u0301wo\u00adrd x', salt, 4096);
    expect(decomposed.storedKey.equals(composed.storedKey)).toBe(true);
  });
});
