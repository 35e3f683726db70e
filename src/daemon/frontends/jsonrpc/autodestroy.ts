/** Domains that go with the connection that started them. */
import type { Logger } from '../../../base/log.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { CallContext } from './handlers.ts';

/** What a start is told of its owner. */
export function ownerOf(autodestroy: boolean, context: CallContext): { autodestroyOwner?: object } {
  return autodestroy ? { autodestroyOwner: context.connection } : {};
}

/** Destroys what this connection owns when it closes; at once when it has closed while the guest was started. */
export function destroyOnClose(domains: DomainService, context: CallContext, log: Logger): void {
  context.connection.onClose(() => {
    domains.lifecycle.connectionClosed(context.connection).catch((error: unknown) => {
      log.error({ err: error, client: context.connection.id }, 'autodestroy failed');
    });
  });
}
