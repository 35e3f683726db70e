/** A domain's state and the reason for it, in libvirt's words (libvirt-domain.h, virDomainState and its reasons). */

/** Reasons by state; their order is libvirt's numbering, so the index is the number on the wire. */
export const stateReasons = {
  nostate: ['unknown'],
  running: [
    'unknown',
    'booted',
    'migrated',
    'restored',
    'from snapshot',
    'unpaused',
    'migration canceled',
    'save canceled',
    'event wakeup',
    'crashed',
    'post-copy',
    'post-copy failed',
  ],
  blocked: ['unknown'],
  paused: [
    'unknown',
    'user',
    'migrating',
    'saving',
    'dumping',
    'I/O error',
    'watchdog',
    'from snapshot',
    'shutting down',
    'creating snapshot',
    'crashed',
    'starting up',
    'post-copy',
    'post-copy failed',
    'api error',
  ],
  shutdown: ['unknown', 'user'],
  shutoff: [
    'unknown',
    'shutdown',
    'destroyed',
    'crashed',
    'migrated',
    'saved',
    'failed',
    'from snapshot',
    'daemon',
  ],
  crashed: ['unknown', 'panicked'],
  pmsuspended: ['unknown'],
} as const;

export type DomainStateName = keyof typeof stateReasons;

/** A state with one of its reasons. */
export type DomainState = {
  [S in DomainStateName]: { readonly state: S; readonly reason: (typeof stateReasons)[S][number] };
}[DomainStateName];
