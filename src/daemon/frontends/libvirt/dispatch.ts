/** From a call's header to what answers it: program, version, procedure, arguments, rights. */
import { apiFunction, isAllowedReadOnly } from '../../../libvirt/access.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../libvirt/errors.ts';
import { type MessageHeader, messageStatus } from '../../../libvirt/protocol/message.ts';
import { lxcProgram, type Program, qemuProgram, remoteProgram } from '../../../libvirt/protocol/programs.ts';
import { XdrReader } from '../../../libvirt/xdr/reader.ts';
import type { Xdr } from '../../../libvirt/xdr/scalars.ts';
import type { Call, Handler } from './context.ts';
import type { HandlerTable } from './handlers/table.ts';

/** A call that can be run. */
export interface Answerable {
  readonly name: string;
  readonly ret: Xdr<unknown>;
  /** The uuid of the domain that it may change; undefined for a call that only looks, or that is about something else. */
  readonly changes: string | undefined;
  run(call: Call): unknown;
}

/** Calls that a client may make before CONNECT_OPEN. */
const beforeOpen: ReadonlySet<string> = new Set([
  'authList',
  'authPolkit',
  'authSaslInit',
  'authSaslStart',
  'authSaslStep',
  'connectOpen',
  'connectClose',
  // Keepalive is asked for before the opening; the handler knows which features are.
  'connectSupportsFeature',
]);

/** Of containers nothing is served, but its calls are known as calls. */
const programs = [remoteProgram, qemuProgram, lxcProgram];

interface Body {
  readonly frame: Buffer;
  readonly start: number;
  readonly end: number;
}

/** @throws LibvirtError, XdrError: what the client is told */
export function findCall(
  handlers: HandlerTable,
  client: { readonly isOpen: boolean; readonly isReadOnly: boolean; readonly mustAuthenticate: boolean },
  header: MessageHeader,
  body: Body,
): Answerable {
  const program = programOf(header);
  const row = program.byNumber.get(header.procedure);
  if (row === undefined || row.procedure.kind !== 'call') throw rpc(`unknown procedure: ${header.procedure}`);
  const { name, procedure } = row;
  if (client.mustAuthenticate && !name.startsWith('auth'))
    throw new LibvirtError(errorNumber.authFailed, 'authentication required', errorDomain.rpc);
  const handler = handlers.find(program.name, name);
  if (handler === undefined) throw notSupported(program, name);
  if (!client.isOpen && !beforeOpen.has(name))
    throw new LibvirtError(errorNumber.internalError, 'connection not open', errorDomain.rpc);
  const args = decode(procedure.args, body);
  if (client.isReadOnly && !isAllowedReadOnly(name, procedure, args))
    throw new LibvirtError(
      errorNumber.operationDenied,
      `read only access prevents ${apiFunction(name)}`,
      errorDomain.rpc,
    );
  const changes = isAllowedReadOnly(name, procedure, args) ? undefined : domainOf(args);
  return {
    name,
    ret: procedure.ret,
    changes,
    run: (call) => (handler as Handler<unknown, unknown>)(args, call),
  };
}

/** The domain that the arguments name, by itself or as the owner of a snapshot. */
function domainOf(args: unknown): string | undefined {
  const { dom, snap } = (args ?? {}) as Readonly<Record<string, { readonly uuid?: unknown; dom?: unknown }>>;
  const { uuid } = (dom ?? snap?.dom ?? {}) as { readonly uuid?: unknown };
  return typeof uuid === 'string' ? uuid : undefined;
}

function decode(codec: Xdr<unknown>, { frame, start, end }: Body): unknown {
  const reader = new XdrReader(frame, start, end);
  const args = codec.decode(reader);
  reader.finish();
  return args;
}

function programOf({ program, version, status }: MessageHeader): Program {
  const found = programs.find(({ number }) => number === program);
  if (found === undefined) throw rpc(`Cannot find program ${program} version ${version}`);
  if (version !== found.version)
    throw rpc(`version mismatch (actual ${version.toString(16)}, expected ${found.version.toString(16)})`);
  if (status !== messageStatus.ok) throw rpc(`Unexpected message status ${status}`);
  return found;
}

function rpc(text: string): LibvirtError {
  return new LibvirtError(errorNumber.rpc, text, errorDomain.rpc);
}

/** What is in the protocol and not in the engine: clients take this number for "not here" and go on. */
function notSupported(program: Program, name: string): LibvirtError {
  const api =
    program.name === 'qemu'
      ? apiFunction(name).replace(/^vir(Connect)?Domain/, 'vir$1DomainQemu')
      : apiFunction(name);
  return new LibvirtError(errorNumber.noSupport, api);
}
