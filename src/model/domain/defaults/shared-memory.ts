/** Memory that other processes share, where devices of a definition need that. */
import type { DomainDef } from '../domain.ts';
import type { Draft } from './facts.ts';

/** True when another process must see the guest's RAM: virtiofsd, the back ends of vhost-user devices. */
export function needsSharedMemory({ devices }: Pick<DomainDef, 'devices'>): boolean {
  const { filesystems, interfaces, disks } = devices;
  return (
    filesystems.some((fs) => fs.driver?.type === 'virtiofs') ||
    interfaces.some((nic) => nic.source.type === 'vhostuser') ||
    disks.some((disk) => disk.source.type === 'vhostuser')
  );
}

/**
 * Says in the definition that its memory is shared, where its devices imply it and nothing else is said: libvirt wants
 * that from whoever writes the definition.
 */
export function defaultSharedMemory(draft: Draft): void {
  if (!needsSharedMemory(draft) || draft.memoryBacking?.access !== undefined) return;
  const cells = draft.cpu?.numa?.cells ?? [];
  if (cells.length > 0 && cells.every((cell) => cell.memAccess !== undefined)) return;
  const backing = draft.memoryBacking;
  const hasPlace = backing?.hugepages !== undefined || backing?.source !== undefined;
  draft.memoryBacking = { ...backing, ...(!hasPlace && { source: 'memfd' as const }), access: 'shared' };
}
