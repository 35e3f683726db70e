/** Opens the front door for libvirt's clients, as the configuration wants it. */
import { dirname, join } from 'node:path';
import { reasonOf, VirtError } from '../base/errors.ts';
import { ensureDirectory } from '../base/files.ts';
import type { Logger } from '../base/log.ts';
import type { DaemonConfig } from './config.ts';
import type { EarlyDoor } from './early-door.ts';
import type { Engine } from './frontends/libvirt/context.ts';
import { type Authority, findPolkit } from './frontends/libvirt/polkit.ts';
import { type LibvirtServer, serveLibvirt } from './frontends/libvirt/server.ts';
import { socketDirectory } from './frontends/libvirt/sockets.ts';
import { serveTcp, type TcpDoor } from './frontends/libvirt/tcp.ts';
import type { TlsDoor } from './frontends/libvirt/tls.ts';
import type { DaemonPaths } from './paths.ts';
import type { EventBus } from './services/events.ts';
import type { SaslUsers } from './services/sasl-users.ts';

/** The mode of a socket where polkit decides about whoever connects. */
const EVERYBODY = 0o666;

/** Undefined where the group of the socket decides: in sessions, by default, and where there is no polkit. */
async function authorityFor(
  paths: DaemonPaths,
  config: DaemonConfig,
  log: Logger,
): Promise<Authority | undefined> {
  if (paths.mode === 'session' || config.libvirt.unix_auth === 'group') return undefined;
  const found = await findPolkit();
  if ('authority' in found) return found.authority;
  log.warn(
    { reason: found.missing },
    'polkit cannot be asked; the group of the socket decides who may connect',
  );
  return undefined;
}

/** The way in for other hosts; undefined when it is switched off, as it is by default. @throws VirtError file.*, config.invalid */
export async function openTlsDoor(
  config: DaemonConfig,
  libvirt: LibvirtServer | undefined,
  { users, log }: { readonly users: SaslUsers; readonly log: Logger },
): Promise<TlsDoor | undefined> {
  const { tls_addresses: addresses, tls_allowed_names: allowedNames, ...settings } = config.libvirt;
  if (libvirt === undefined || addresses.length === 0) return undefined;
  if (allowedNames.length === 0)
    throw new VirtError('config.invalid', {
      wanted: 'serve other hosts by TLS',
      reason: 'libvirt.tls_allowed_names is empty: nobody could come in',
      hint: "name the certificates, like 'CN=ann,O=Example'; '*' lets in every certificate that tls_ca has signed",
    });
  // Read only where it is wanted: Node's TLS takes megabytes.
  const { serveTls } = await import('./frontends/libvirt/tls.ts');
  return serveTls({
    addresses,
    port: settings.tls_port,
    files: { ca: settings.tls_ca, cert: settings.tls_cert, key: settings.tls_key, crl: settings.tls_crl },
    allowedNames,
    open: (client) => libvirt.openRemote(client, settings.tls_auth === 'sasl' ? users : undefined),
    log,
  });
}

/** The way in that nothing protects; undefined when it is switched off, as it is by default. @throws VirtError config.invalid */
export async function openTcpDoor(
  { libvirt: { tcp_addresses: addresses, tcp_port: port } }: DaemonConfig,
  libvirt: LibvirtServer | undefined,
  log: Logger,
): Promise<TcpDoor | undefined> {
  if (libvirt === undefined || addresses.length === 0) return undefined;
  return serveTcp({ addresses, port, open: (client) => libvirt.openRemote(client, undefined), log });
}

/**
 * Where virt-install and virt-manager put the kernel of an installation from a tree (`--location`): they define a pool on it
 * and count on libvirt's packages for the directory. Not fatal where it cannot be made.
 */
async function makeBootDirectory({ images }: DaemonPaths, log: Logger): Promise<void> {
  const parent = dirname(images);
  try {
    await ensureDirectory(parent, 0o755);
    await ensureDirectory(join(parent, 'boot'), 0o711);
  } catch (error) {
    log.warn(
      { reason: reasonOf(error), path: parent },
      'the directory for kernels of installations is not there',
    );
  }
}

/** Undefined when it is switched off. @throws VirtError file.*, config.invalid */
export async function openLibvirtDoor(parts: {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly engine: Engine;
  readonly rights: { readonly mode: number; readonly gid?: number };
  readonly events: EventBus;
  readonly early: EarlyDoor | undefined;
  readonly onClientsChange: () => void;
}): Promise<LibvirtServer | undefined> {
  const { paths, config, engine, rights, events, early, onClientsChange } = parts;
  if (!config.libvirt.enabled) return undefined;
  if (paths.mode === 'system') await makeBootDirectory(paths, engine.log);
  const authority = await authorityFor(paths, config, engine.log);
  return serveLibvirt({
    mode: paths.mode,
    engine,
    directory: socketDirectory(paths),
    fallbackDirectory: paths.runtime,
    early,
    rights: authority === undefined ? rights : { mode: EVERYBODY },
    authority,
    readOnlySocket: config.libvirt.read_only_socket,
    subscribe: (listener) => events.subscribe(listener),
    onClientsChange,
    log: engine.log,
  });
}
