/**
 * Networks that a guest needs are started with it: our own verbs do so, since "network 'default' is not active" helps
 * nobody who only wants the guest. libvirt's protocol keeps libvirt's refusal.
 */
import { isVirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { NetworkService } from './network-service.ts';

/**
 * Starts those of the named networks that are defined and not active. Names of no network are left for the start of the
 * guest to refuse.
 * @throws VirtError as the start of a network does
 */
export async function startNetworks(
  service: NetworkService | undefined,
  names: readonly string[],
): Promise<void> {
  const wanted = new Set(names);
  const idle = service?.list({ active: false }).filter(({ name }) => wanted.has(name)) ?? [];
  for (const network of idle)
    await service?.lifecycle.start(network).catch((error: unknown) => {
      // Somebody was faster, and that is as good.
      if (!isVirtError(error, 'network.active')) throw error;
    });
}

/** Names of the virtual networks that a definition's cards are on. */
export function networksOf({ devices }: DomainDef): string[] {
  return devices.interfaces.flatMap(({ source }) => ('network' in source ? (source.network ?? []) : []));
}
