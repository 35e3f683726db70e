/** What the defaults need to know about host and emulator; all of it handed in, so that applying them stays pure. */
import type { DomainDef } from '../domain.ts';

export interface DefaultsFacts {
  /** libvirt's name of the host's architecture; what a definition without `arch` gets. */
  readonly hostArch: string;
  /** The QEMU binary for an architecture; undefined when none is installed. */
  emulatorFor(arch: string): string | undefined;
  /**
   * The full name of a machine type (`pc` becomes `pc-i440fx-7.2`), or the default one for undefined; undefined when
   * the emulator doesn't have it.
   */
  canonicalMachine(arch: string, name: string | undefined): string | undefined;
  newUuid(): string;
  /** A MAC address of 52:54:00 with three random bytes. */
  newMac(): string;
  /** Whether the emulator has a device; without this function it has them all. */
  hasDevice?(name: string): boolean;
  /**
   * The CPU that QEMU would take by itself for that machine: a model's name, `host` or `max`. Without an answer
   * a definition that names no CPU stays so.
   */
  defaultCpu?(arch: string, machine: string, virtType: string): string | undefined;
}

export function hasDevice(facts: Pick<DefaultsFacts, 'hasDevice'>, name: string): boolean {
  return facts.hasDevice === undefined || facts.hasDevice(name);
}

/** A definition that may be changed in place: `applyDefaults` works on its own copy. */
export type Draft = DomainDef;
