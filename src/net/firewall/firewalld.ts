/** firewalld beside us: it decides by zones, and a bridge in none of them is in its strictest. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import type { ForwardMode, NetworkPlan } from '../plan.ts';
import { tableHandle } from './nft-kernel.ts';

/** firewall-cmd is a Python program and talks over D-Bus. */
const LIMIT_MS = 30_000;

/**
 * Zones that firewalld or libvirt's package brings, by what a network is: `libvirt` lets guests out and keeps others from
 * coming in, `libvirt-routed` lets them in too. `trusted` is in every firewalld.
 */
const usualZones = (mode: ForwardMode): string[] =>
  mode === 'route' ? ['libvirt-routed', 'libvirt', 'trusted'] : ['libvirt', 'trusted'];

/**
 * Puts the bridge into the zone of the definition or, where firewalld runs and none is given, into one that lets guests
 * reach the network's own services. An open network is left to the administrator. The binding is not permanent:
 * firewalld forgets it when it reloads, so the guardian makes it anew.
 * @throws VirtError definition.unsupported when a zone is asked for and there is no firewalld; program.*
 */
export async function joinZone(
  { bridge, forward }: Pick<NetworkPlan, 'bridge' | 'forward'>,
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
  await tell({ bridge, forward }, '--change-interface');
}

/**
 * Takes the bridge out again: firewalld would keep the name for whatever gets it next. Nothing without firewalld.
 * @throws VirtError program.*
 */
export async function leaveZone(
  plan: Pick<NetworkPlan, 'bridge' | 'forward'>,
  facts: { readonly isFirewalldRunning: boolean },
): Promise<void> {
  if (!facts.isFirewalldRunning) return;
  try {
    await tell(plan, '--remove-interface');
  } catch (error) {
    // Somebody has done it, or put it elsewhere: then it is theirs.
    if (!/UNKNOWN_INTERFACE|ZONE_CONFLICT|INVALID_ZONE/.test(reasonOf(error))) throw error;
  }
}

async function tell(
  { bridge, forward }: Pick<NetworkPlan, 'bridge' | 'forward'>,
  verb: '--change-interface' | '--remove-interface',
): Promise<void> {
  if (forward.mode === 'open' && bridge.zone === undefined) return;
  const zone = bridge.zone ?? (await usualZone(forward.mode));
  await run('firewall-cmd', [`--zone=${zone}`, `${verb}=${bridge.name}`], { timeoutMs: LIMIT_MS });
}

async function usualZone(mode: ForwardMode): Promise<string> {
  const { stdout } = await run('firewall-cmd', ['--get-zones'], { timeoutMs: LIMIT_MS });
  const zones = stdout.split(/\s+/);
  return usualZones(mode).find((zone) => zones.includes(zone)) ?? 'trusted';
}

/**
 * Tells one life of firewalld's rules from the next: it makes its table anew when it starts and when it reloads, which
 * takes the bridges out of their zones. Undefined while it does not run, or keeps its rules elsewhere.
 */
export function firewalldEpoch(): bigint | undefined {
  return tableHandle('inet', 'firewalld');
}
