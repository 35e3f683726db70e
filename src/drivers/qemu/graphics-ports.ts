/** TCP ports of VNC and SPICE servers: chosen at start from a range, tried by binding, and never given twice. */
import { createServer } from 'node:net';
import { errnoOf, VirtError } from '../../base/errors.ts';
import type { Graphics } from '../../model/domain/devices/graphics.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GraphicsPorts } from '../driver.ts';

/** Ports that are promised to guests of this daemon, from the choice until the guest has ended. */
export class PortPool {
  private readonly taken = new Map<number, string>();
  private readonly range: { readonly first: number; readonly last: number };

  constructor(range: { readonly first: number; readonly last: number }) {
    this.range = range;
  }

  /**
   * Chooses the ports of all graphics devices of a definition; devices without a TCP server get none.
   * @throws VirtError operation.failed when no port is left
   */
  async choose(definition: DomainDef): Promise<GraphicsPorts[]> {
    const owner = definition.uuid ?? '';
    const chosen: GraphicsPorts[] = [];
    try {
      for (const graphics of definition.devices.graphics) chosen.push(await this.chooseFor(graphics, owner));
      return chosen;
    } catch (error) {
      this.release(owner);
      throw error;
    }
  }

  /** Notes the ports of a guest that runs already. */
  claim(ports: readonly GraphicsPorts[], owner: string): void {
    for (const { port, tlsPort, websocket } of ports)
      for (const number of [port, tlsPort, websocket])
        if (number !== undefined) this.taken.set(number, owner);
  }

  /** Gives back all ports of a domain. */
  release(owner: string): void {
    for (const [port, holder] of this.taken) if (holder === owner) this.taken.delete(port);
  }

  private async chooseFor(graphics: Graphics, owner: string): Promise<GraphicsPorts> {
    if (graphics.type !== 'vnc' && graphics.type !== 'spice') return {};
    const listen = graphics.listens[0];
    if (listen?.type === 'socket' || listen?.type === 'none') return {};
    const address =
      (listen?.type === 'address' || listen?.type === 'network' ? listen.address : undefined) ?? '127.0.0.1';
    const port = graphics.port ?? (graphics.autoport ? await this.free(address, owner) : undefined);
    const extra = graphics.type === 'vnc' ? graphics.websocket : graphics.tlsPort;
    // -1 is libvirt's "choose one"; websockets begin at 5700 there, here they come from the one range.
    const second = extra === -1 ? await this.free(address, owner) : extra;
    return {
      ...(port !== undefined && { port }),
      ...(second !== undefined && (graphics.type === 'vnc' ? { websocket: second } : { tlsPort: second })),
    };
  }

  private async free(address: string, owner: string): Promise<number> {
    for (let port = this.range.first; port <= this.range.last; port++) {
      if (this.taken.has(port)) continue;
      // Taken before the try, so that two starts at once do not try the same.
      this.taken.set(port, owner);
      if (await canBind(address, port)) return port;
      this.taken.delete(port);
    }
    throw new VirtError('operation.failed', {
      wanted: 'choose a port for a graphics server',
      reason: `all ports from ${this.range.first} to ${this.range.last} on ${address} are taken`,
      hint: 'give the daemon a larger range of graphics ports',
    });
  }
}

/** Whether a server could listen there now. An address that is not ours is an error, not a busy port. */
function canBind(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (errnoOf(error) === 'EADDRINUSE' || errnoOf(error) === 'EACCES') resolve(false);
      else
        reject(
          new VirtError('definition.unsupported', {
            wanted: 'listen for a graphics server',
            reason: `${host}: ${errnoOf(error) ?? error.message}`,
            hint: 'listen on an address of this host',
            cause: error,
          }),
        );
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
