/** What network commands share. */

/** The help of the argument that names networks. */
export const NETWORK_HELP = 'Name or uuid.';
