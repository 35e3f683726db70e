/** firewalld beside us: it decides by zones, and a bridge in none of them is in its strictest. */
import { VirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import type { BridgePlan } from '../plan.ts';

/** firewall-cmd is a Python program and talks over D-Bus. */
const LIMIT_MS = 30_000;

/** Zones that libvirt's package brings, then the one that every firewalld has. */
const usualZones = ['libvirt', 'trusted'];

/**
 * Puts the bridge into the zone of the definition or, where firewalld runs and none is given, into one that lets guests
 * reach the network's own services. The binding is not permanent: it goes with the bridge.
 * @throws VirtError definition.unsupported when a zone is asked for and there is no firewalld; program.*
 */
export async function joinZone(
  bridge: BridgePlan,
  facts: { readonly isFirewalldRunning: boolean },
): Promise<void> {
  if (!facts.isFirewalldRunning) {
    if (bridge.zone === undefined) return;
    throw new VirtError('definition.unsupported', {
      wanted: `put bridge ${bridge.name} into zone '${bridge.zone}'`,
      reason: 'firewalld is not running on this host',
      hint: 'start firewalld, or take the zone out of the network',
    });
  }
  const zone = bridge.zone ?? (await usualZone());
  await run('firewall-cmd', [`--zone=${zone}`, `--change-interface=${bridge.name}`], {
    timeoutMs: LIMIT_MS,
  });
}

async function usualZone(): Promise<string> {
  const { stdout } = await run('firewall-cmd', ['--get-zones'], { timeoutMs: LIMIT_MS });
  const zones = stdout.split(/\s+/);
  return usualZones.find((zone) => zones.includes(zone)) ?? 'trusted';
}
