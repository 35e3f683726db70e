/** Makes a parsed definition complete: what libvirt would fill in when it stores one. */
import { clonePlain } from '../../base/clone.ts';
import { defaultChardevs } from './defaults/chardevs.ts';
import { defaultControllers } from './defaults/controllers.ts';
import { defaultAudios, defaultGraphics, defaultInputs, defaultVideos } from './defaults/display.ts';
import type { DefaultsFacts } from './defaults/facts.ts';
import {
  defaultBoot,
  defaultClock,
  defaultCpu,
  defaultEvents,
  defaultFeatures,
  defaultFirmware,
  defaultIdentity,
  defaultMachine,
  defaultMemory,
  defaultVcpus,
} from './defaults/machine.ts';
import { defaultInterfaces } from './defaults/network.ts';
import { defaultOtherDevices } from './defaults/other.ts';
import { defaultSharedMemory } from './defaults/shared-memory.ts';
import { defaultDisks, defaultFilesystems } from './defaults/storage.ts';
import type { DomainDef } from './domain.ts';

export type { DefaultsFacts } from './defaults/facts.ts';

/**
 * The definition with everything filled in that it left open, addresses excepted (`assignAddresses`). Applied to its
 * own result it changes nothing. The argument stays as it is.
 * @throws VirtError qemu.missing, qemu.lacks when there is no emulator or no such machine type
 */
export function applyDefaults(definition: DomainDef, facts: DefaultsFacts): DomainDef {
  const draft = clonePlain(definition);
  defaultIdentity(draft, facts);
  defaultMachine(draft, facts);
  defaultMemory(draft);
  defaultVcpus(draft);
  defaultFirmware(draft);
  defaultBoot(draft);
  defaultFeatures(draft);
  defaultCpu(draft, facts);
  defaultClock(draft);
  defaultEvents(draft);
  defaultDisks(draft);
  defaultFilesystems(draft);
  defaultInterfaces(draft, facts);
  defaultChardevs(draft);
  defaultGraphics(draft);
  defaultVideos(draft, facts);
  defaultAudios(draft);
  defaultInputs(draft);
  defaultOtherDevices(draft);
  defaultControllers(draft, facts);
  defaultSharedMemory(draft);
  return draft;
}
