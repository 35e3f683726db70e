/** Which disk of a definition a guest means. */
import type { AgentDiskAddress } from '../../drivers/guest-agent.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/** The target (`vda`) of the disk that a guest names by its place on a bus. */
export function targetAt({ devices }: DomainDef, place: AgentDiskAddress): string | undefined {
  const { 'pci-controller': pci, bus, target, unit } = place;
  const isAt = (address: DomainDef['devices']['disks'][number]['address']) =>
    address?.type === 'pci' &&
    (address.domain ?? 0) === pci.domain &&
    (address.bus ?? 0) === pci.bus &&
    (address.slot ?? 0) === pci.slot &&
    (address.function ?? 0) === pci.function;
  const direct = devices.disks.find(({ address }) => isAt(address));
  if (direct !== undefined) return direct.target.dev;
  const controller = devices.controllers.find(({ address }) => isAt(address));
  return devices.disks.find(
    ({ address }) =>
      address?.type === 'drive' &&
      (address.controller ?? 0) === (controller?.index ?? -1) &&
      (address.bus ?? 0) === bus &&
      (address.target ?? 0) === target &&
      (address.unit ?? 0) === unit,
  )?.target.dev;
}
