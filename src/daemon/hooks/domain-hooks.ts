/** The moments in a guest's life at which the scripts named `qemu` run (libvirt's hooks.html, /etc/libvirt/hooks/qemu). */
import { type DomainDef, formatDomain } from '../../model/domain/domain.ts';
import type { HookCall, Hooks } from './hooks.ts';

/** Each moment with its sub-operation. Those that begin something can be refused by their exit status. */
const moments = {
  /** Before anything of a start was done. */
  prepare: 'begin',
  /** Everything is in place, and QEMU is to be started. */
  start: 'begin',
  /** QEMU runs; refused, the guest is ended again. */
  started: 'begin',
  /** The daemon found a running guest again; refused, the guest is ended, as libvirt does. */
  reconnect: 'begin',
  /** A saved state is to be gone on from; what the script writes takes the place of its definition. */
  restore: 'begin',
  /** QEMU has ended; the host is not tidied up yet. */
  stopped: 'end',
  /** All that the guest had on the host was given back. */
  release: 'end',
} as const;

export type DomainMoment = keyof typeof moments;

function callOf(moment: DomainMoment, definition: DomainDef, signal?: AbortSignal): HookCall {
  return {
    kind: 'qemu',
    object: definition.name,
    operation: moment,
    subOperation: moments[moment],
    input: () => formatDomain(definition, {}),
    signal,
  };
}

/** @throws VirtError hook.refused */
export async function askDomainHooks(
  hooks: Hooks | undefined,
  moment: Exclude<DomainMoment, 'stopped' | 'release' | 'restore'>,
  definition: DomainDef,
  signal?: AbortSignal,
): Promise<void> {
  await hooks?.ask(callOf(moment, definition, signal));
}

export async function tellDomainHooks(
  hooks: Hooks | undefined,
  moment: 'stopped' | 'release',
  definition: DomainDef,
): Promise<void> {
  await hooks?.tell(callOf(moment, definition));
}

/**
 * Gives the scripts the definition with which a saved state is to be gone on from, passwords with it, since what they write
 * takes its place. Undefined where they have written nothing.
 * @throws VirtError hook.refused
 */
export async function filterRestored(
  hooks: Hooks | undefined,
  definition: DomainDef,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const input = () => formatDomain(definition, { inactive: true, secure: true });
  return hooks?.filter({ ...callOf('restore', definition, signal), input });
}
