/** Touching a running domain: keys, screen, consoles, port forwards, raw monitor. */
import type { Duplex } from 'node:stream';
import { VirtError } from '../../base/errors.ts';
import type { LiveGuest, PortForward, Screenshot } from '../../drivers/driver.ts';
import type { Interface, InterfacePortForward } from '../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { changeAndStore } from './change-and-store.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { runChange } from './late-changes.ts';
import { changeRunning } from './running-definition.ts';
import { refuseForwardedPorts } from './user-forwards.ts';
import type { DomainWorld } from './world.ts';

/** A port forward with the interface it belongs to. */
export interface DomainPortForward extends PortForward {
  readonly interface: string;
}

/** SLIRP's first DHCP lease, which is where forwards lead (QEMU: -netdev user, dhcpstart). */
const USER_GUEST_ADDRESS = '10.0.2.15';

export class DomainControls {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  async screenshot(domain: Domain, screen: number): Promise<Screenshot> {
    return domain.requireLive('take a picture of').guest.screenshot(screen);
  }

  /** A connected socket to a display; it belongs to the caller. @throws VirtError domain.inactive, domain.no-device */
  async openGraphics(
    domain: Domain,
    index: number,
    options: { readonly skipAuth: boolean },
  ): Promise<number> {
    return domain.requireLive('open a display of').guest.openGraphics(index, options);
  }

  /** Connects a client's socket, which stays the caller's, to a display. @throws as `openGraphics` */
  async addGraphicsClient(
    domain: Domain,
    client: { readonly index: number; readonly fd: number; readonly skipAuth: boolean },
  ): Promise<void> {
    const { index, fd, skipAuth } = client;
    await domain.requireLive('open a display of').guest.addGraphicsClient(index, fd, { skipAuth });
  }

  async sendKeys(domain: Domain, keys: readonly string[], holdMs: number): Promise<void> {
    await domain.requireLive('send keys to').guest.sendKeys(keys, holdMs);
  }

  async injectNmi(domain: Domain): Promise<void> {
    await domain.requireLive('send an NMI to').guest.injectNmi();
  }

  /** Opens a console, serial or channel; without an alias the first console or serial. */
  async openConsole(
    domain: Domain,
    alias: string | undefined,
    options: { readonly force: boolean },
  ): Promise<{ alias: string; stream: Duplex }> {
    const { guest } = domain.requireLive('open a console of');
    const chosen = alias ?? defaultConsole(guest);
    if (chosen === undefined)
      throw new VirtError('domain.no-device', {
        wanted: `open a console of domain '${domain.name}'`,
        reason: 'the domain has no serial device or console',
        hint: "add <serial type='pty'/> to its definition",
      });
    return { alias: chosen, stream: await guest.openConsole(chosen, options) };
  }

  /**
   * The end of QEMU's own log, or of the log file of the first serial device that has one.
   * @throws VirtError domain.no-device when none has
   */
  async log(domain: Domain, source: 'qemu' | 'console', maxBytes: number): Promise<string> {
    const definition = this.definitions.definition(domain);
    if (source === 'qemu') return this.world.driver.logTail(definition, maxBytes);
    const text = await this.world.driver.consoleLogTail(definition, maxBytes);
    if (text !== undefined) return text;
    throw new VirtError('domain.no-device', {
      wanted: `show the console log of domain '${domain.name}'`,
      reason: 'none of its serial devices has a log file',
      hint: "add <log file='/PATH' append='on'/> to a serial device; guests of 'vireo domain create' have one",
    });
  }

  /** The QEMU command line this domain is, or would be, started with. */
  async commandLine(domain: Domain): Promise<readonly string[]> {
    return this.world.driver.commandLine(this.definitions.definition(domain));
  }

  async monitorCommand(
    domain: Domain,
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    fd?: number,
  ): Promise<unknown> {
    const { guest } = domain.requireLive('send a monitor command to');
    this.world.log.warn({ domain: domain.name, command }, 'a client sent a raw monitor command');
    return guest.monitorCommand(command, args, fd);
  }

  portForwards(domain: Domain): DomainPortForward[] {
    return portForwardsOf(this.definitions.definition(domain));
  }

  /**
   * Adds a forward to the running guest and to the stored definition.
   * @throws VirtError domain.no-device, forward.conflict, request.invalid
   */
  async addPortForward(
    domain: Domain,
    interfaceName: string | undefined,
    wanted: Omit<PortForward, 'guestAddress'> & { readonly guestAddress?: string | undefined },
  ): Promise<DomainPortForward> {
    if (wanted.guestAddress !== undefined && wanted.guestAddress !== USER_GUEST_ADDRESS)
      throw new VirtError('request.invalid', {
        wanted: `forward a port to domain '${domain.name}'`,
        reason: `the user network has one guest, at ${USER_GUEST_ADDRESS}`,
      });
    const forward = { ...wanted, guestAddress: USER_GUEST_ADDRESS };
    return runChange(this.world, domain, 'add port forward', async () => {
      const definition = this.definitions.definition(domain);
      const index = userInterface(domain, definition, interfaceName);
      const taken = portForwardsOf(definition).find((other) => isSameHostEnd(other, forward));
      if (taken) throw conflict(domain, forward);
      const alias = aliasOf(definition, index);
      refusePasst(domain, definition, index);
      if (domain.live !== undefined) refuseForwardedPorts(this.world, domain, [forward]);
      await this.changeForwards(
        domain,
        { index, change: (list) => [...list, toXmlForward(forward)] },
        (guest) => guest.addPortForward(alias, forward),
      );
      return { ...forward, interface: alias };
    });
  }

  /** @throws VirtError forward.not-found */
  async removePortForward(
    domain: Domain,
    interfaceName: string | undefined,
    hostEnd: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>,
  ): Promise<void> {
    await runChange(this.world, domain, 'remove port forward', async () => {
      const definition = this.definitions.definition(domain);
      const found = portForwardsOf(definition).find(
        (other) =>
          isSameHostEnd(other, hostEnd) && (interfaceName === undefined || other.interface === interfaceName),
      );
      if (!found)
        throw new VirtError('forward.not-found', {
          wanted: `remove a port forward of domain '${domain.name}'`,
          reason: `${hostEnd.protocol} ${hostEnd.hostAddress}:${hostEnd.hostPort} is not forwarded`,
          hint: `'vireo domain forward list ${domain.name}' shows them`,
        });
      const index = userInterface(domain, definition, found.interface);
      refusePasst(domain, definition, index);
      await this.changeForwards(domain, { index, change: (list) => withoutForward(list, found) }, (guest) =>
        guest.removePortForward(found.interface, found),
      );
    });
  }

  private async changeForwards(
    domain: Domain,
    {
      index,
      change,
    }: {
      readonly index: number;
      readonly change: (list: readonly InterfacePortForward[]) => InterfacePortForward[];
    },
    guest: (guest: LiveGuest) => Promise<void>,
  ): Promise<void> {
    const after = (definition: DomainDef): DomainDef => {
      const interfaces = definition.devices.interfaces.map((nic, i) =>
        i === index ? { ...nic, portForwards: change(nic.portForwards) } : nic,
      );
      return { ...definition, devices: { ...definition.devices, interfaces } };
    };
    const stored = domain.isPersistent
      ? after(this.definitions.definition(domain, { inactive: true }))
      : undefined;
    await changeAndStore(domain, { world: this.world, definitions: this.definitions, stored }, async () => {
      if (domain.live === undefined) return;
      await guest(domain.live.guest);
      changeRunning(domain.live.guest, after(domain.live.guest.definition));
    });
    await saveStatus(this.world, domain);
  }

  /** Where on this host that TCP port of the guest is reached. */
  forwardsTo(domain: Domain, guestPort: number): { readonly address: string; readonly port: number }[] {
    const anywhere = new Set(['', '0.0.0.0', '::']);
    return this.portForwards(domain)
      .filter((forward) => forward.protocol === 'tcp' && forward.guestPort === guestPort)
      .map(({ hostAddress, hostPort }) => ({
        address: anywhere.has(hostAddress) ? '127.0.0.1' : hostAddress,
        port: hostPort,
      }));
  }
}

function defaultConsole(guest: LiveGuest): string | undefined {
  const { serials, consoles } = guest.definition.devices;
  return serials[0]?.alias ?? consoles[0]?.alias;
}

/** The forwards of a definition; a range of ports counts as that many forwards. */
export function portForwardsOf(definition: DomainDef): DomainPortForward[] {
  return definition.devices.interfaces.flatMap((nic, index) =>
    forwardsOfCard(nic, aliasOf(definition, index)),
  );
}

/** The same of one interface, by its alias. */
export function forwardsOfCard(nic: Pick<Interface, 'portForwards'>, alias: string): DomainPortForward[] {
  return nic.portForwards.flatMap((entry) => fromXmlForward(entry, alias));
}

function fromXmlForward(entry: InterfacePortForward, alias: string): DomainPortForward[] {
  const excluded = entry.ranges.filter((range) => range.exclude === true);
  const isExcluded = (port: number) =>
    excluded.some(({ start, end = start }) => port >= start && port <= end);
  return entry.ranges.flatMap((range) => {
    if (range.exclude === true) return [];
    const count = (range.end ?? range.start) - range.start + 1;
    return Array.from({ length: Math.max(0, count) }, (_, offset) => ({
      interface: alias,
      protocol: entry.protocol,
      hostAddress: entry.address ?? '0.0.0.0',
      hostPort: range.start + offset,
      guestAddress: USER_GUEST_ADDRESS,
      guestPort: (range.to ?? range.start) + offset,
    })).filter(({ hostPort }) => !isExcluded(hostPort));
  });
}

function toXmlForward(forward: PortForward): InterfacePortForward {
  return {
    protocol: forward.protocol,
    address: forward.hostAddress,
    ranges: [{ start: forward.hostPort, to: forward.guestPort }],
  };
}

/** The list without one forward; a range that held it is written out as single forwards. */
function withoutForward(list: readonly InterfacePortForward[], gone: PortForward): InterfacePortForward[] {
  return list.flatMap((entry) => {
    const single = fromXmlForward(entry, '');
    if (!single.some((forward) => isSameHostEnd(forward, gone))) return [entry];
    return single.filter((forward) => !isSameHostEnd(forward, gone)).map((forward) => toXmlForward(forward));
  });
}

function isSameHostEnd(
  a: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>,
  b: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>,
): boolean {
  return a.protocol === b.protocol && a.hostAddress === b.hostAddress && a.hostPort === b.hostPort;
}

/** Aliases are given at start; before that an interface is named by its place, as the alias will be. */
function aliasOf(definition: DomainDef, index: number): string {
  return definition.devices.interfaces[index]?.alias ?? `net${index}`;
}

function userInterface(domain: Domain, definition: DomainDef, name: string | undefined): number {
  const { interfaces } = definition.devices;
  const isWanted = (nic: Interface, index: number) =>
    name === undefined || aliasOf(definition, index) === name || nic.mac?.address === name.toLowerCase();
  const index = interfaces.findIndex((nic, i) => nic.source.type === 'user' && isWanted(nic, i));
  if (index !== -1) return index;
  throw new VirtError('domain.no-device', {
    wanted: `forward a port to domain '${domain.name}'`,
    reason:
      name === undefined ? 'it has no interface of type user' : `'${name}' is no interface of type user`,
    hint: forwardHint(domain, interfaces),
  });
}

/** passt takes its ports when it starts, and can be told of no others. */
function refusePasst(domain: Domain, definition: DomainDef, index: number): void {
  if (domain.live === undefined || definition.devices.interfaces[index]?.backend?.type !== 'passt') return;
  throw new VirtError('request.unsupported', {
    wanted: `change port forwards of domain '${domain.name}'`,
    reason: `interface ${aliasOf(definition, index)} is served by passt, which takes its ports when it starts`,
    hint: 'shut the guest down first, or use user networking without passt',
  });
}

function conflict(domain: Domain, forward: PortForward): VirtError {
  return new VirtError('forward.conflict', {
    wanted: `forward a port to domain '${domain.name}'`,
    reason: `${forward.protocol} ${forward.hostAddress}:${forward.hostPort} is forwarded already`,
  });
}

/** A card on a virtual network has its forwards there. */
function forwardHint(domain: Domain, interfaces: readonly Interface[]): string {
  const network = interfaces.flatMap(({ source }) => (source.type === 'network' ? [source.network] : []))[0];
  return network === undefined
    ? "port forwards need <interface type='user'>"
    : `it is on network '${network}', which forwards ports by 'vireo network forward add ${network} ${domain.name} HOST-PORT:GUEST-PORT'`;
}
