/** Links for guests of an ordinary user: taps that qemu-bridge-helper makes, and taps that an administrator made. */
import { VirtError } from '../../base/errors.ts';
import { findProgram } from '../../base/exec.ts';
import type { GuestLink, LinkProvider } from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import {
  type BridgeHelperHost,
  checkBridge,
  describeBridges,
  openHelpedTap,
  thisHost,
} from '../../net/bridge-helper/bridge-helper.ts';
import type { LinkHost } from '../../net/links/requests.ts';

type LinkRequest = Parameters<LinkProvider['open']>[0];

interface SessionLinkParts {
  readonly links: Pick<LinkHost, 'openExisting'>;
  readonly bridges?: BridgeHelperHost;
}

export class SessionLinks implements LinkProvider {
  private readonly links: SessionLinkParts['links'];
  private readonly bridges: BridgeHelperHost;

  constructor({ links, bridges = thisHost }: SessionLinkParts) {
    this.links = links;
    this.bridges = bridges;
  }

  /** @throws VirtError access.denied, program.missing, link.failed, definition.unsupported; network.session for other types */
  async open(request: LinkRequest): Promise<GuestLink> {
    const { definition: nic } = request;
    const wanted = wantedOf(request);
    switch (nic.source.type) {
      case 'bridge': {
        refuseParts(nic, request);
        const tap = await openHelpedTap(nic.source.bridge, wanted, this.bridges);
        return { tapFds: [tap.fd], vhostFds: [], deviceName: tap.name };
      }
      case 'ethernet':
        return this.openExisting(request, wanted);
      default:
        throw new VirtError('network.session', {
          wanted,
          reason: `an interface of type '${nic.source.type}' needs the system connection (qemu:///system)`,
          hint: await this.waysOut(),
        });
    }
  }

  /** A tap of the helper goes with its last descriptor; the others are not ours. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** @throws VirtError as `open`, for what can be seen without making anything */
  async check(request: LinkRequest): Promise<void> {
    if (request.definition.source.type !== 'bridge') return;
    refuseParts(request.definition, request);
    await checkBridge(request.definition.source.bridge, wantedOf(request), this.bridges);
  }

  async waysOut(): Promise<string> {
    const passt = (await findProgram('passt')) === undefined ? 'needs the package passt' : 'is installed';
    const bridges = await describeBridges(this.bridges);
    return [
      "what works in a session: <interface type='user'> with <portForward> (--network user,forward=tcp:2222:22)",
      `the same with <backend type='passt'/>, which ${passt} (--network passt)`,
      `<interface type='bridge'> through qemu-bridge-helper: ${bridges} (--network bridge=NAME)`,
      "a segment between this user's guests, <interface type='mcast'> (--network segment=NAME)",
    ].join('; ');
  }

  private async openExisting(request: LinkRequest, wanted: string): Promise<GuestLink> {
    const { definition: nic, queues } = request;
    const name = nic.target?.dev;
    if (nic.target?.managed !== false || name === undefined)
      throw new VirtError('network.session', {
        wanted,
        reason: 'a tap device can only be made by the system daemon',
        hint: "name one that an administrator made for this user: <target dev='tap0' managed='no'/>",
      });
    const tap = await this.links.openExisting({ name, queues });
    return { tapFds: tap.fds, vhostFds: tap.vhostFds, deviceName: tap.name, isKept: true };
  }
}

function wantedOf(request: LinkRequest): string {
  return `connect devices.interface[${request.interfaceIndex}] of domain '${request.domainName}'`;
}

/** What the helper's tap cannot have, since only root may change it. */
function refuseParts(nic: Interface, request: LinkRequest): void {
  const path = `devices.interface[${request.interfaceIndex}]`;
  const name = nic.target?.dev;
  const parts = {
    'driver.queues': request.queues > 1 || undefined,
    mtu: nic.mtu,
    bandwidth: nic.bandwidth,
    vlan: nic.vlan,
    filterref: nic.filterref,
    virtualport: nic.virtualport,
    'port.isolated': nic.portIsolated || undefined,
    'target.dev': name !== undefined && !/^(vnet|tap)\d+$/.test(name) ? name : undefined,
  };
  const problems = Object.entries(parts)
    .filter(([, value]) => value !== undefined)
    .map(([part]) => ({ path: `${path}.${part}`, message: 'cannot be set on a tap of qemu-bridge-helper' }));
  const [first] = problems;
  if (first === undefined) return;
  throw new VirtError('definition.unsupported', {
    wanted: wantedOf(request),
    reason: problems.map((problem) => `${problem.path} ${problem.message}`).join('; '),
    hint: 'the system connection (qemu:///system) can',
    details: { problems },
  });
}
