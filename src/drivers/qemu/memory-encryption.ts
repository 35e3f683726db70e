/** Whether the host's own emulator can give guests encrypted memory (AMD SEV), and if not, why. */
import { hostFiles } from '../../kvm/host-files.ts';
import { readSevLimits, sevProblem } from '../../kvm/sev.ts';
import type { MemoryEncryption } from '../driver.ts';
import { type CapabilitySources, chooseEmulator } from './capabilities.ts';

/** Asks the emulator of the host's architecture. @throws VirtError qemu.missing, qemu.probe-failed */
export async function readMemoryEncryption(sources: CapabilitySources): Promise<MemoryEncryption> {
  const { arch } = await sources.hostFacts();
  const problem = sevProblem(sources.hostFiles ?? hostFiles(), 'sev', {
    arch,
    guestsUnprivileged: process.getuid?.() === 0,
  });
  if (problem !== undefined) return { problem };
  const { path, capabilities } = await chooseEmulator(sources, { arch });
  const sev = capabilities.accelerators.kvm?.sev;
  if (sev !== undefined) return { platform: { ...sev, ...(sources.sevLimits ?? readSevLimits)() } };
  return {
    problem: {
      reason: `${path} finds none: it was built without SEV, or cannot use KVM here`,
      repair: "see 'vireo host check', and install a QEMU with the object sev-guest",
    },
  };
}
