/** Paths of sockets that a daemon chose for a running guest: a definition made from its live XML doesn't keep them. */
import type { DomainDef } from './domain.ts';

/** Where libvirt puts the sockets of channels that name none; its older versions stored them. */
const libvirtChannels = '/var/lib/libvirt/qemu/channel/';

/**
 * The definition without socket paths of channels and display servers below one of `directories` (absolute) or
 * libvirt's own directory: they are chosen anew at each start.
 */
export function dropChosenPaths(definition: DomainDef, directories: readonly string[]): DomainDef {
  const prefixes = [...directories.map((directory) => `${directory.replace(/\/+$/, '')}/`), libvirtChannels];
  const isChosen = (path: string | undefined): boolean =>
    path !== undefined && prefixes.some((prefix) => path.startsWith(prefix));
  const { channels, graphics } = definition.devices;
  return {
    ...definition,
    devices: {
      ...definition.devices,
      channels: channels.map((channel) => {
        if (channel.source.type !== 'unix' || !isChosen(channel.source.path)) return channel;
        const { path: _path, mode: _mode, ...source } = channel.source;
        return { ...channel, source };
      }),
      graphics: graphics.map((device) =>
        'listens' in device
          ? { ...device, listens: device.listens.map((listen) => withoutSocket(listen, isChosen)) }
          : device,
      ),
    },
  };
}

type Listen = Extract<DomainDef['devices']['graphics'][number], { listens: unknown }>['listens'][number];

function withoutSocket(listen: Listen, isChosen: (path: string | undefined) => boolean): Listen {
  return listen.type === 'socket' && isChosen(listen.socket) ? { type: 'socket' } : listen;
}
