/** A client of VNC servers that goes as far as the handshake (RFC 6143, 7.1): what is asked for, and whether it lets in. */
import { createCipheriv } from 'node:crypto';
import { connect, type NetConnectOpts } from 'node:net';

/** Security types (RFC 6143, 7.1.2). */
export const rfbSecurity = { none: 1, vnc: 2 } as const;

export interface Handshake {
  readonly version: string;
  readonly security: readonly number[];
  /** The server's answer to the password, or to none where none is wanted; undefined when none was tried. */
  readonly isLetIn: boolean | undefined;
}

/** Shakes hands; with a password it answers the challenge. */
export async function rfbHandshake(to: NetConnectOpts, password?: string): Promise<Handshake> {
  const socket = connect(to);
  const bytes = bytesOf(socket);
  try {
    const version = (await bytes(12)).toString('latin1').trim();
    socket.write(`${version}\n`);
    const count = (await bytes(1))[0] ?? 0;
    const security = [...(await bytes(count))];
    if (security.includes(rfbSecurity.none)) {
      socket.write(Buffer.from([rfbSecurity.none]));
      return { version, security, isLetIn: (await bytes(4)).readUInt32BE() === 0 };
    }
    if (password === undefined || !security.includes(rfbSecurity.vnc))
      return { version, security, isLetIn: undefined };
    socket.write(Buffer.from([rfbSecurity.vnc]));
    socket.write(answer(await bytes(16), password));
    return { version, security, isLetIn: (await bytes(4)).readUInt32BE() === 0 };
  } finally {
    socket.destroy();
  }
}

/** Reads exactly so many bytes; rejects when the other side ends before. */
export function bytesOf(socket: AsyncIterable<Buffer>): (count: number) => Promise<Buffer> {
  const chunks = socket[Symbol.asyncIterator]();
  let rest = Buffer.alloc(0);
  return async (count) => {
    while (rest.length < count) {
      const { value, done } = await chunks.next();
      if (done === true) throw new Error(`the server hung up, ${count} bytes were expected`);
      rest = Buffer.concat([rest, value]);
    }
    const taken = rest.subarray(0, count);
    rest = rest.subarray(count);
    return taken;
  };
}

/** DES of the challenge; the key is the password with the bits of each byte mirrored (RFC 6143, 7.2.2, errata). */
function answer(challenge: Buffer, password: string): Buffer {
  const key = Buffer.alloc(8);
  key.write(password, 'latin1');
  const mirrored = key.map((byte) =>
    Number.parseInt(byte.toString(2).padStart(8, '0').split('').toReversed().join(''), 2),
  );
  // Three times the same key: triple DES, which OpenSSL still has, is then DES, which it has not.
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([mirrored, mirrored, mirrored]), null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}
