/**
 * Who a client is. On unix sockets the socket's rights and the peer's identity decide, and polkit where that is configured;
 * clients of other hosts show it by SASL, where that is configured.
 */
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { ClientConnection, RemoteHandlers } from '../context.ts';
import type { SaslAnswer, SaslExchange } from '../sasl/exchange.ts';

export function authenticationHandlers() {
  return {
    authList: (_, { connection }) => ({ types: [wayOf(connection)] }),
    authPolkit: async (_, { connection }) => {
      if (wayOf(connection) !== 'polkit') throw failed('polkit is not asked for');
      await connection.authenticate();
      return { complete: 1 };
    },
    authSaslInit: (_, { connection }) => ({ mechlist: exchangeOf(connection).init() }),
    authSaslStart: ({ mech, nil, data }, { connection }) =>
      answerOf(connection, (sasl) => sasl.start(mech, nil === 0 ? Buffer.from(data) : undefined)),
    authSaslStep: ({ nil, data }, { connection }) =>
      answerOf(connection, (sasl) => sasl.step(nil === 0 ? Buffer.from(data) : undefined)),
  } satisfies RemoteHandlers;
}

function wayOf({ mustAuthenticate, sasl }: ClientConnection): 'none' | 'polkit' | 'sasl' {
  if (!mustAuthenticate) return 'none';
  return sasl === undefined ? 'polkit' : 'sasl';
}

function exchangeOf({ mustAuthenticate, sasl }: ClientConnection): SaslExchange {
  if (sasl === undefined || !mustAuthenticate) throw failed('SASL is not in use here');
  return sasl;
}

/** One try for each connection: it ends with the first that fails. */
async function answerOf(
  connection: ClientConnection,
  work: (sasl: SaslExchange) => Promise<SaslAnswer>,
): Promise<{ complete: number; nil: number; data: Buffer }> {
  try {
    const { complete, data } = await work(exchangeOf(connection));
    return { complete: complete ? 1 : 0, nil: 0, data };
  } catch (error) {
    connection.closeAfterReply();
    throw error;
  }
}

const failed = (reason: string): LibvirtError =>
  new LibvirtError(errorNumber.authFailed, reason, errorDomain.rpc);
