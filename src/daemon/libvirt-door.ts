/** Opens the front door for libvirt's clients, as the configuration wants it. */
import type { DaemonConfig } from './config.ts';
import type { Engine } from './frontends/libvirt/context.ts';
import { type LibvirtServer, serveLibvirt } from './frontends/libvirt/server.ts';
import { socketDirectory } from './frontends/libvirt/sockets.ts';
import type { DaemonPaths } from './paths.ts';
import type { EventBus } from './services/events.ts';

/** Undefined when it is switched off. @throws VirtError file.*, config.invalid */
export async function openLibvirtDoor(parts: {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly engine: Engine;
  readonly rights: { readonly mode: number; readonly gid?: number };
  readonly events: EventBus;
  readonly onClientsChange: () => void;
}): Promise<LibvirtServer | undefined> {
  const { paths, config, engine, rights, events, onClientsChange } = parts;
  if (!config.libvirt.enabled) return undefined;
  return serveLibvirt({
    mode: paths.mode,
    engine,
    directory: socketDirectory(paths),
    fallbackDirectory: paths.runtime,
    rights,
    readOnlySocket: config.libvirt.read_only_socket,
    subscribe: (listener) => events.subscribe(listener),
    onClientsChange,
    log: engine.log,
  });
}
