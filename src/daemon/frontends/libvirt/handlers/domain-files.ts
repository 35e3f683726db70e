/** Descriptors that a client hands over for a domain's disks. */
import type { ClientConnection, Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, domainOf, invalid } from './support.ts';

/**
 * virDomainFDAssociateFlags. Nothing is labelled here, so there is nothing to restore; `writable` lets QEMU open the image
 * for writing although the definition only reads it.
 */
const flag = { restore: 1, writable: 2 } as const;

export function domainFileHandlers(engine: Engine) {
  const known = new WeakSet<ClientConnection>();
  return {
    domainFdAssociate: ({ dom, name, flags }, call) => {
      checkFlags(flags, flag.restore | flag.writable, call);
      const domain = domainOf(engine, dom);
      const { connection, fds } = call;
      if (fds.length === 0) throw invalid('nfds in virDomainFDAssociate must not be zero');
      engine.passedFiles.associate(domain, {
        owner: connection,
        name,
        fds: fds.splice(0),
        isWritable: (flags & flag.writable) !== 0,
      });
      if (known.has(connection)) return;
      known.add(connection);
      connection.onClose(() => engine.passedFiles.release(connection));
    },
  } satisfies RemoteHandlers;
}
