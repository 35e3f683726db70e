/** Fills the table of descriptors for one start: files and sockets, and the taps that the link provider makes. */
import { VirtError } from '../../base/errors.ts';
import { allSettledOrThrow } from '../../base/settled.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { FdNeed } from './argv/types.ts';
import { type DescriptorTable, openNeed } from './descriptors.ts';
import { noteSocket, type Starting } from './starting.ts';

/** Opens all needs of a command line, at the same time; of several errors the first in its order is told. */
export async function openNeeds(
  starting: Starting,
  definition: DomainDef,
  needs: readonly FdNeed[],
  table: DescriptorTable,
): Promise<void> {
  const uid = starting.identity?.uid;
  const { secrets, uidRange } = starting.deps.options;
  const context = {
    ...(uid !== undefined && { uid }),
    uidRange,
    ...(secrets && { secrets }),
    ...(starting.passed && { passed: starting.passed }),
    onSocket: (path: string) => noteSocket(starting, path),
    onLog: (path: string) => void starting.logs.push(path),
  };
  // Taps come from the link provider below, sockets of passt came with their helpers.
  const own = needs.filter(({ kind }) => kind !== 'tap' && kind !== 'vhost-net' && kind !== 'passt');
  await allSettledOrThrow(own.map((need) => openNeed(need, table, context)));
  await openLinks(starting, definition, needs, table);
}

type LinkNeed = Extract<FdNeed, { readonly kind: 'tap' | 'vhost-net' }>;

/** Asks for one link per interface; its descriptors go to the numbers that the command line names. */
async function openLinks(
  starting: Starting,
  definition: DomainDef,
  needs: readonly FdNeed[],
  table: DescriptorTable,
): Promise<void> {
  const wanted = needs.filter((need): need is LinkNeed => need.kind === 'tap' || need.kind === 'vhost-net');
  const byInterface = Map.groupBy(wanted, (need) => need.interfaceIndex);
  for (const [index, own] of byInterface) await openLink(starting, definition, index, own, table);
}

async function openLink(
  starting: Starting,
  definition: DomainDef,
  index: number,
  needs: readonly LinkNeed[],
  table: DescriptorTable,
): Promise<void> {
  const provider = starting.deps.options.links;
  const device = definition.devices.interfaces[index];
  if (provider === undefined || device === undefined)
    throw new VirtError('network.session', {
      wanted: `connect devices.interfaces[${index}] of '${definition.name}'`,
      reason: `interfaces of type ${device?.source.type ?? 'tap'} need the system connection`,
      hint: "use an interface of type 'user' here",
    });
  const domainUuid = definition.uuid ?? '';
  const link = await provider.open({
    domainUuid,
    domainName: definition.name,
    interfaceIndex: index,
    definition: device,
    queues: needs.filter((need) => need.kind === 'tap').length,
  });
  if (link.actual) starting.actual[String(index)] = link.actual;
  const { deviceName, isKept = false } = link;
  starting.links[String(index)] = deviceName;
  if (isKept) starting.keptLinks.push(deviceName);
  const port = { domainName: definition.name, definition: { ...device, ...link.actual } };
  starting.undo.add(`close link ${deviceName}`, () =>
    provider.close({ domainUuid, deviceName, isKept, port }),
  );
  const unused = new Set([...link.tapFds, ...link.vhostFds]);
  for (const need of needs) {
    const fd = (need.kind === 'tap' ? link.tapFds : link.vhostFds)[need.queue];
    if (fd === undefined)
      throw new VirtError('link.failed', {
        wanted: `connect devices.interfaces[${index}] of '${definition.name}'`,
        reason: `${link.deviceName} has no ${need.kind} queue ${need.queue}`,
      });
    unused.delete(fd);
    table.addFd(need.fd, fd);
  }
  for (const fd of unused) table.addSpare(fd);
}
