/** The kernel's answers about links, in words. */
import { errnoOf, VirtError } from '../../base/errors.ts';

const reasons: Readonly<Record<string, string>> = {
  EPERM: 'the kernel does not permit it (CAP_NET_ADMIN is needed)',
  EACCES: 'the kernel does not permit it (CAP_NET_ADMIN is needed)',
  EEXIST: 'an interface of that name exists already',
  EBUSY: 'the interface is in use',
  ENODEV: 'the bridge or interface does not exist',
  ENETDOWN: 'the interface below is down',
  EADDRINUSE: 'another device on that interface has the MAC address',
};

/** What a failed request to the kernel means for whoever asked. */
export function linkError(error: unknown, wanted: string): VirtError {
  if (error instanceof VirtError) return error;
  const errno = errnoOf(error);
  const reason = reasons[errno ?? ''] ?? (error instanceof Error ? error.message : String(error));
  return new VirtError('link.failed', { wanted, reason, details: { errno }, cause: error });
}
