/** Every error a client can see: one table of codes, and the one class that carries them. */

/**
 * What a code means outside: its JSON-RPC number (application range, outside the reserved -32768..-32000),
 * libvirt's `virErrorNumber` (include/libvirt/virterror.h) and the HTTP status.
 */
export interface ErrorRow {
  readonly jsonrpc: number;
  readonly libvirt: number;
  readonly http: number;
  readonly meaning: string;
}

const row = (jsonrpc: number, libvirt: number, http: number, meaning: string): ErrorRow => ({
  jsonrpc,
  libvirt,
  http,
  meaning,
});

/** The table. `docs/errors.md` is generated from it; a JSON-RPC number is never given twice. */
export const errorTable = {
  'internal.error': row(1001, 1, 500, 'A bug in the daemon; the log has the stack.'),
  'request.invalid': row(1002, 8, 400, 'An argument is missing, of the wrong shape or out of range.'),
  'request.unsupported': row(1003, 3, 501, 'This build or this connection does not offer the operation.'),
  'request.flags': row(1004, 74, 400, 'A flag or a combination of flags is not supported.'),
  'request.too-large': row(1005, 39, 413, 'A message, a batch or a document is over its limit.'),
  'request.busy': row(
    1006,
    87,
    429,
    'Too many requests of this client, or transfers of all clients, are in work.',
  ),
  'access.denied': row(1007, 88, 403, 'The caller may not do this.'),
  'access.read-only': row(1008, 29, 403, 'The connection is read-only.'),
  'xml.malformed': row(1010, 35, 400, 'The document is not well-formed XML, or breaks a limit.'),
  'xml.invalid': row(1011, 27, 400, 'The document is well-formed but not a valid definition.'),
  'definition.unsupported': row(1012, 67, 422, 'The definition is understood, but cannot be honoured here.'),
  'domain.not-found': row(1020, 42, 404, 'No domain has that name, uuid or id.'),
  'domain.exists': row(1021, 9, 409, 'Another domain has that name or uuid.'),
  'domain.active': row(1022, 55, 409, 'The operation needs a domain that is shut off.'),
  'domain.inactive': row(1023, 55, 409, 'The operation needs a running domain.'),
  'domain.transient': row(1024, 55, 409, 'The operation needs a persistent domain.'),
  'domain.busy': row(1025, 68, 409, 'Another job holds the domain.'),
  'domain.start-failed': row(1026, 1, 500, 'QEMU did not come up.'),
  'domain.state': row(1027, 55, 409, 'The domain is in a state that does not allow the operation.'),
  'domain.no-device': row(1028, 99, 404, 'The domain has no such device.'),
  'domain.device-exists': row(
    1032,
    55,
    409,
    'The domain has a device of that name, number or place already.',
  ),
  'domain.no-metadata': row(1029, 80, 404, 'The domain has no metadata of that kind.'),
  'domain.no-block-job': row(1031, 8, 404, 'The disk has no such block job.'),
  'domain.quarantined': row(1030, 55, 409, 'The stored definition cannot be read and was put aside.'),
  'agent.unresponsive': row(1035, 86, 504, 'The guest agent does not answer.'),
  'agent.missing': row(1036, 74, 409, 'The domain has no guest agent channel.'),
  'kvm.unusable': row(1040, 67, 422, 'KVM cannot be used on this host.'),
  'qemu.missing': row(1041, 38, 503, 'No QEMU binary for that architecture was found.'),
  'qemu.probe-failed': row(1042, 1, 500, 'The QEMU binary could not be asked for its capabilities.'),
  'qemu.lacks': row(1043, 67, 422, 'The QEMU binary is too old or built without what is needed.'),
  'qmp.closed': row(1044, 1, 500, 'QEMU closed its monitor.'),
  'qmp.failed': row(1045, 1, 500, 'QEMU refused a monitor command.'),
  'qmp.timeout': row(1046, 68, 504, 'QEMU did not answer in time.'),
  'qmp.protocol': row(1047, 1, 500, 'QEMU broke the rules of its monitor protocol.'),
  'network.conflict': row(
    1048,
    9,
    409,
    'A subnet or bridge of the network is in use by something else on the host.',
  ),
  'network.quarantined': row(1049, 55, 409, 'The stored network cannot be read and was put aside.'),
  'network.not-found': row(1050, 43, 404, 'No network has that name or uuid.'),
  'network.inactive': row(1051, 55, 409, 'The network is not active.'),
  'network.session': row(1052, 3, 501, 'Virtual networks need the system connection.'),
  'network.exists': row(1053, 9, 409, 'Another network has that name, uuid or bridge.'),
  'link.failed': row(1054, 38, 500, 'A host network interface could not be set up.'),
  'forward.conflict': row(1055, 9, 409, 'A port forward collides with another, or its port is taken.'),
  'forward.not-found': row(1056, 99, 404, 'No such port forward.'),
  'network.busy': row(1057, 68, 409, 'Another job holds the network.'),
  'network.active': row(1058, 55, 409, 'The operation needs a network that is not active.'),
  'network.transient': row(1059, 55, 409, 'The operation needs a persistent network.'),
  'network.no-metadata': row(1089, 80, 404, 'The network has no metadata of that kind.'),
  'pool.not-found': row(1100, 49, 404, 'No storage pool has that name or uuid.'),
  'pool.exists': row(1101, 9, 409, 'Another storage pool has that name, uuid or place.'),
  'pool.active': row(1102, 55, 409, 'The operation needs a pool that is not active.'),
  'pool.inactive': row(1103, 55, 409, 'The pool is not active.'),
  'pool.transient': row(1104, 55, 409, 'The operation needs a persistent pool.'),
  'pool.busy': row(1105, 68, 409, 'Another job holds the pool.'),
  'pool.quarantined': row(1106, 55, 409, 'The stored pool cannot be read and was put aside.'),
  'pool.built': row(1107, 76, 409, 'Something is there already that a build would destroy.'),
  'pool.failed': row(1108, 38, 500, 'The storage of a pool could not be brought up, taken down or read.'),
  'pool.unresponsive': row(1109, 38, 504, 'The storage of a pool does not answer.'),
  'volume.not-found': row(1110, 50, 404, 'No storage volume has that name, path or key.'),
  'volume.exists': row(1111, 90, 409, 'Another volume of the pool has that name.'),
  'volume.busy': row(1112, 68, 409, 'Another job holds the volume.'),
  'volume.in-use': row(1113, 55, 409, 'Something depends on the volume.'),
  'download.refused': row(1120, 88, 403, 'The URL is not one that may be fetched.'),
  'download.failed': row(1121, 38, 502, 'A server could not be reached, or did not send the file.'),
  'download.checksum': row(1122, 38, 422, 'The bytes are not those that the checksum promises.'),
  'image.not-found': row(1123, 50, 404, 'The catalogue has no image of that name.'),
  'image.unsafe': row(1124, 67, 422, 'The image names other files, or is encrypted.'),
  'file.not-found': row(1060, 38, 404, 'A file the operation needs is not there.'),
  'file.denied': row(1061, 38, 403, 'A file cannot be opened with the rights at hand.'),
  'file.exists': row(1062, 38, 409, 'A file is in the way.'),
  'file.no-space': row(1063, 38, 507, 'The disk is full, or a quota is reached.'),
  'file.failed': row(1064, 38, 500, 'Reading or writing a file failed.'),
  'program.missing': row(1070, 38, 503, 'A program the operation needs is not installed.'),
  'program.failed': row(1071, 1, 500, 'A program ended with an error.'),
  'program.timeout': row(1072, 68, 504, 'A program did not end in time.'),
  'system.call': row(1073, 38, 500, 'A system call failed.'),
  'operation.timeout': row(1080, 68, 504, 'The operation did not end in time.'),
  'operation.aborted': row(1081, 78, 499, 'The operation was cancelled.'),
  'operation.failed': row(1082, 9, 500, 'The operation failed.'),
  'daemon.stopping': row(1083, 38, 503, 'The daemon is stopping.'),
  'daemon.unreachable': row(1084, 38, 503, 'No daemon answers on that socket.'),
  'daemon.running': row(1085, 38, 409, 'Another daemon already serves these paths.'),
  'host-device.not-found': row(1094, 38, 404, 'The host has no such device.'),
  'host-device.ambiguous': row(1095, 38, 409, 'Several devices of the host fit the definition.'),
  'host-device.in-use': row(1096, 55, 409, 'Another guest has that device of the host.'),
  'host-device.unusable': row(1097, 55, 409, 'A device of the host cannot be given to a guest as it is.'),
  'host-device.failed': row(1098, 38, 500, 'A device of the host could not be moved between drivers.'),
  'job.not-found': row(1092, 38, 404, 'No job of that id is in work.'),
  'job.not-cancellable': row(1093, 55, 409, 'The job cannot be called off half-way.'),
  'secret.not-found': row(1130, 66, 404, 'No secret has that uuid or usage.'),
  'secret.exists': row(1131, 9, 409, 'Another secret has that uuid, or is for the same use.'),
  'secret.private': row(1132, 65, 403, 'The secret is private: its value is shown to nobody.'),
  'secret.no-value': row(1133, 66, 404, 'The secret has no value.'),
  'secret.busy': row(1134, 68, 409, 'Another change of secrets is in work.'),
  'sasl-user.not-found': row(1142, 38, 404, 'There is no such user for SASL.'),
  'nwfilter.not-found': row(1135, 62, 404, 'No network filter has that name or uuid.'),
  'nwfilter.exists': row(1136, 9, 409, 'Another network filter has that name or uuid.'),
  'nwfilter.in-use': row(1137, 55, 409, 'Running guests use the network filter.'),
  'nwfilter.built-in': row(1138, 55, 409, 'The network filter comes with Vireo and stays.'),
  'nwfilter.busy': row(1139, 68, 409, 'Another change of network filters is in work.'),
  'node-device.not-found': row(1140, 53, 404, 'The host has no node device of that name.'),
  'host-interface.not-found': row(1141, 57, 404, 'The host has no network interface of that name.'),
  'saved-state.invalid': row(1160, 9, 422, 'The file is no saved state of a guest, or is not whole.'),
  'saved-state.exists': row(
    1161,
    55,
    409,
    'The domain has a saved state, which does not allow the operation.',
  ),
  'saved-state.not-found': row(1162, 55, 404, 'The domain has no saved state.'),
  'snapshot.not-found': row(1170, 72, 404, 'The domain has no snapshot of that name.'),
  'snapshot.exists': row(1171, 9, 409, 'The domain has a snapshot of that name already.'),
  'snapshot.risky': row(1172, 77, 409, 'A return to the snapshot could lose something; it has to be forced.'),
  'checkpoint.not-found': row(1180, 103, 404, 'The domain has no checkpoint of that name.'),
  'checkpoint.exists': row(1181, 9, 409, 'The domain has a checkpoint of that name already.'),
  'checkpoint.inconsistent': row(
    1182,
    109,
    409,
    'What was written since a checkpoint is not known: its bitmap is missing or broken.',
  ),
  'backup.none': row(1183, 104, 404, 'No backup of the domain is in work.'),
  'backup.not-found': row(1184, 38, 404, 'There is no such backup.'),
  'backup.damaged': row(1185, 38, 422, 'A backup is not as it was written.'),
  'backup.needed': row(1186, 55, 409, 'Other backups lie on this one.'),
  'backup.no-plan': row(1187, 38, 404, 'There is no such plan of backups.'),
  'hook.refused': row(
    1150,
    70,
    409,
    'A hook script of the administrator said no, failed, or did not end in time.',
  ),
  'config.invalid': row(1086, 33, 500, 'The configuration file is wrong.'),
  'stream.failed': row(1087, 38, 500, 'A byte stream broke off.'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

/** One finding in a document or request: where (`devices.disk[1].target.dev`) and what. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

export interface VirtErrorInit {
  /** What was wanted, of which object: `start domain 'web'`. */
  readonly wanted?: string;
  /** Why it was not done. */
  readonly reason: string;
  /** What the reader can do about it. */
  readonly hint?: string;
  /** Facts for programs: problems, argv, exit status, end of stderr. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The longest error text that leaves the daemon, in characters (docs/security.md, limits). */
const MAX_TEXT = 4096;

/** Makes text safe for one line of a log or terminal: control characters become `\xNN`, long text is cut. */
export function oneLine(text: string, max: number = MAX_TEXT): string {
  // Control and bidi-override characters: a guest or a file must not be able to forge log lines.
  const clean = text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return clean.length > max ? `${clean.slice(0, max - 1)}…` : clean;
}

/** An error whose cause is outside the code: it has a stable code, a reason and, where there is one, a repair. */
export class VirtError extends Error {
  readonly code: ErrorCode;
  readonly wanted: string | undefined;
  readonly reason: string;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, init: VirtErrorInit) {
    const reason = oneLine(init.reason);
    super(init.wanted === undefined ? reason : `cannot ${oneLine(init.wanted)}: ${reason}`, {
      cause: init.cause,
    });
    this.name = 'VirtError';
    this.code = code;
    this.wanted = init.wanted === undefined ? undefined : oneLine(init.wanted);
    this.reason = reason;
    this.hint = init.hint === undefined ? undefined : oneLine(init.hint);
    this.details = init.details;
  }

  get row(): ErrorRow {
    return errorTable[this.code];
  }
}

/** True for a VirtError, of that code when one is given. */
export function isVirtError(error: unknown, code?: ErrorCode): error is VirtError {
  return error instanceof VirtError && (code === undefined || error.code === code);
}

/** The `code` of a Node system error (`ENOENT`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** A short text of anything thrown, for a reason that quotes its cause. */
export function reasonOf(error: unknown): string {
  if (error instanceof VirtError) return error.reason;
  return oneLine(error instanceof Error ? error.message : String(error));
}

const fileCodes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'file.not-found',
  ENOTDIR: 'file.not-found',
  EACCES: 'file.denied',
  EPERM: 'file.denied',
  EROFS: 'file.denied',
  EEXIST: 'file.exists',
  ENOSPC: 'file.no-space',
  EDQUOT: 'file.no-space',
  EFBIG: 'file.no-space',
};

/** Wraps a failed file operation: the errno picks the code, the path and the purpose are told. */
export function fileError(error: unknown, wanted: string, path: string): VirtError {
  if (error instanceof VirtError) return error;
  // Whoever called the work off is told that, and nothing of the file that it was at.
  if (error instanceof Error && error.name === 'AbortError')
    return new VirtError('operation.aborted', { wanted, reason: 'it was cancelled', cause: error });
  const errno = errnoOf(error);
  const code = (errno !== undefined && fileCodes[errno]) || 'file.failed';
  return new VirtError(code, {
    wanted,
    reason: `${path}: ${describeErrno(errno) ?? reasonOf(error)}`,
    ...(errno === 'EFBIG' && { hint: 'make it smaller, or use a file system that takes larger files' }),
    details: { path, errno },
    cause: error,
  });
}

function describeErrno(errno: string | undefined): string | undefined {
  switch (errno) {
    case 'ENOENT':
      return 'no such file or directory';
    case 'ENOTDIR':
      return 'a component of the path is not a directory';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOSPC':
      return 'no space left on the device';
    case 'EDQUOT':
      return 'the disk quota is reached';
    case 'EFBIG':
      return 'that is larger than a file may be there';
    case 'EEXIST':
      return 'the file exists already';
    default:
      return undefined;
  }
}
