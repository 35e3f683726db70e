/**
 * The hidden `ssh-helper`: what `virt-ssh-helper` becomes. libvirt's clients start that on the far host of qemu+ssh://, and
 * speak through its stdin and stdout with the daemon there.
 */
import { connect, type Socket } from 'node:net';
import { errnoOf, reasonOf, VirtError } from '../../base/errors.ts';
import type { Cli } from '../cli.ts';
import { libvirtSocket } from '../libvirt-socket.ts';
import { startSessionDaemon } from '../session-daemon.ts';
import type { AddCommand } from './command.ts';

/** A first start of the session daemon on a slow host, with cold caches. */
const START_MS = 30_000;

export const addSshHelper: AddCommand = (parent, cli) => {
  parent
    .command('ssh-helper', { hidden: true })
    .description(
      "Joins stdin and stdout to the socket of the daemon for a libvirt URI, for clients' ssh transport.",
    )
    .argument('<uri>', 'qemu:///system or qemu:///session.')
    .option('-r, --readonly', 'Use the socket on which one may only look.')
    .action((uri: string, { readonly = false }: { readonly readonly?: boolean }) =>
      serve(cli, uri, readonly),
    );
};

async function serve(cli: Cli, uri: string, readOnly: boolean): Promise<void> {
  const { env, uid } = cli.world;
  const { path, isSession } = libvirtSocket({ uri, readOnly, env, uid });
  const socket = await open(path).catch(async (error: unknown) => {
    if (!isSession || !isAbsent(error)) throw refused(uri, path, error);
    await startSessionDaemon({ socketPath: path, env, timeoutMs: START_MS });
    return open(path).catch((again: unknown) => {
      throw refused(uri, path, again);
    });
  });
  await join(socket, process.stdin, process.stdout);
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Half-open: the client's end of input must not cut off what is still to be answered.
    const socket = connect({ path, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

const isAbsent = (error: unknown) => errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ECONNREFUSED';

/** Returns when the daemon has closed the connection, or nobody reads any more. */
function join(socket: Socket, input: NodeJS.ReadStream, output: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      input.unpipe(socket);
      input.destroy();
      socket.destroy();
      resolve();
    };
    socket.once('error', (error) => {
      end();
      reject(new VirtError('stream.failed', { reason: reasonOf(error), cause: error }));
    });
    socket.once('close', end);
    socket.once('end', end);
    output.once('error', end);
    input.pipe(socket);
    socket.pipe(output, { end: false });
  });
}

function refused(uri: string, path: string, error: unknown): VirtError {
  const isDenied = errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM';
  return new VirtError(isDenied ? 'access.denied' : 'daemon.unreachable', {
    wanted: `connect to ${uri}`,
    reason: isAbsent(error) ? `nothing listens on ${path}` : `${path}: ${reasonOf(error)}`,
    hint: path.endsWith('-ro')
      ? "the read-only socket is off unless 'read_only_socket = true' stands in section [libvirt] of vireod.toml"
      : 'does the daemon run, and is the user in the group of its socket?',
    cause: error,
  });
}
