/** Devices of a definition that requests name loosely: "the console", "screen 1", the agent's channel. Pure. */
import { VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestRecord } from '../driver.ts';
import { agentChannelName } from './agent.ts';

/** The alias of the guest agent's channel, when the definition has one that runs over a socket. */
export function findAgent(definition: DomainDef): string | undefined {
  return definition.devices.channels.find(
    (channel) => channel.target.type === 'virtio' && channel.target.name === agentChannelName,
  )?.alias;
}

export interface FoundConsole {
  readonly kind: 'pty' | 'socket';
  readonly alias: string;
  readonly path: string;
}

/**
 * A console by alias; without one the first console, which mostly is the first serial port by another name.
 * @throws VirtError domain.no-device
 */
export function findConsole(
  definition: DomainDef,
  record: Pick<GuestRecord, 'ptys' | 'sockets'>,
  alias: string | undefined,
): FoundConsole {
  const wanted = `open ${alias ?? 'the console'} of '${definition.name}'`;
  const candidates = alias === undefined ? defaultConsoles(definition) : sameConsole(definition, alias);
  for (const name of candidates) {
    const pty = Object.hasOwn(record.ptys, name) ? record.ptys[name] : undefined;
    if (pty !== undefined) return { kind: 'pty', alias: name, path: pty };
    const socket = Object.hasOwn(record.sockets, name) ? record.sockets[name] : undefined;
    if (socket !== undefined) return { kind: 'socket', alias: name, path: socket };
  }
  const known = [...Object.keys(record.ptys), ...Object.keys(record.sockets)];
  throw new VirtError('domain.no-device', {
    wanted,
    reason: alias === undefined ? 'it has no console of type pty or unix' : 'it has no such console',
    ...(known.length > 0 && { hint: `it has ${known.join(', ')}` }),
  });
}

function defaultConsoles(definition: DomainDef): string[] {
  const { consoles, serials } = definition.devices;
  return [...serials, ...consoles].flatMap(({ alias }) => (alias === undefined ? [] : [alias]));
}

/** A console that mirrors a serial port answers to both names. */
function sameConsole(definition: DomainDef, alias: string): string[] {
  const { consoles, serials } = definition.devices;
  const mirror = consoles[0]?.target?.type === 'serial' || consoles[0]?.target?.type === undefined;
  if (mirror && (consoles[0]?.alias === alias || alias === 'console0') && serials[0]?.alias !== undefined)
    return [serials[0].alias, alias];
  return [alias];
}

/**
 * QEMU's name of a screen: nothing for the first, else the video device and the head on it, counted through all
 * devices.
 * @throws VirtError domain.no-device
 */
export function videoHead(
  definition: DomainDef,
  screen: number,
): { readonly device?: string; readonly head?: number } {
  const videos = definition.devices.videos.filter((video) => video.model?.type !== 'none');
  const heads = videos.flatMap(({ alias, model }) =>
    Array.from({ length: model?.heads ?? 1 }, (_, head) => ({ device: alias, head })),
  );
  const found = Number.isInteger(screen) ? heads[screen] : undefined;
  if (found === undefined)
    throw new VirtError('domain.no-device', {
      wanted: `take a picture of screen ${screen} of '${definition.name}'`,
      reason: heads.length === 0 ? 'it has no screen' : `it has screens 0 to ${heads.length - 1}`,
    });
  return screen === 0 || found.device === undefined ? {} : { device: found.device, head: found.head };
}
