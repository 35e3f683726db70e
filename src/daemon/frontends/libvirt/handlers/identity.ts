/** Speaking for somebody else: what libvirt's proxies say of the client behind them. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { type ParamTable, readParams } from './params.ts';
import { checkFlags } from './support.ts';

/** VIR_CONNECT_IDENTITY_* (libvirt-host.h). */
const identityTable: ParamTable = {
  'user-name': 'string',
  'unix-user-id': 'ullong',
  'group-name': 'string',
  'unix-group-id': 'ullong',
  'process-id': 'llong',
  'process-time': 'ullong',
  'sasl-user-name': 'string',
  'x509-distinguished-name': 'string',
  'selinux-context': 'string',
};

/**
 * Taken from root, or from the user that the daemon runs as, and written to the log. It gives no right, and takes none:
 * what the connection may do was settled when it came, for the peer that the kernel names.
 */
export function identityHandlers({ log }: Engine) {
  return {
    connectSetIdentity: ({ params, flags }, call) => {
      checkFlags(flags, 0, call);
      const given = readParams(params, identityTable);
      refuseStrangers(call);
      const { id, peer } = call.connection;
      log.info({ client: id, by: peer, identity: Object.fromEntries(given) }, 'a client speaks for another');
    },
  } satisfies RemoteHandlers;
}

/** @throws LibvirtError */
function refuseStrangers({ connection: { peer } }: Call): void {
  if (peer.uid === 0 || peer.uid === process.geteuid?.()) return;
  throw new LibvirtError(errorNumber.accessDenied, `user ${peer.uid} may not speak for others`);
}
