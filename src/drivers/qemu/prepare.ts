/** Makes a definition complete for one emulator, and checks it as far as that is possible without starting it. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import { Turns } from '../../base/turns.ts';
import { throwProblems } from '../../base/xml/codec.ts';
import { kvmUnusable } from '../../kvm/report.ts';
import { placeDevices } from '../../model/domain/addresses/assign.ts';
import { withAliases } from '../../model/domain/aliases.ts';
import { dropChosenPaths } from '../../model/domain/chosen-paths.ts';
import { applyDefaults, type DefaultsFacts } from '../../model/domain/defaults.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { dropFormerSpiceAudio } from '../../model/domain/former-audio.ts';
import { sessionProblems } from '../../model/domain/validate/session.ts';
import { validateDomain } from '../../model/domain/validate/validate.ts';
import { buildCommand } from './argv/build.ts';
import { renderArgs } from './argv/render.ts';
import type { BuildContext, QemuCommand } from './argv/types.ts';
import { buildContext, capabilitiesOf } from './context.ts';
import { firmwareDescriptors, type SelectedFirmware, selectFirmware } from './firmware.ts';
import { kvmGroups } from './identity.ts';
import { checkSev } from './launch-security.ts';
import { defaultNvramPath } from './nvram.ts';
import type { QemuDriverOptions } from './options.ts';
import { lookupOf } from './probe/lookup.ts';
import type { AcceleratorCapabilities, QemuCapabilities } from './probe/types.ts';
import { withVolumePathsForDisplay } from './volume-sources.ts';
import { withVsockCid } from './vsock-cid.ts';

/** Without the sockets that an earlier run was given in its own directory: what a snapshot keeps has them. */
export function withoutChosenPaths(options: QemuDriverOptions, definition: DomainDef): DomainDef {
  return dropChosenPaths(definition, [join(options.runtimeDirectory, 'g')]);
}

/**
 * The complete definition. Completed again it is the same; what `previous` (the stored definition that this one
 * replaces) had been given stays. Whether the emulator can run it is for `checkDefinition` to say.
 * @throws VirtError definition.unsupported, network.session, kvm.unusable, qemu.missing
 */
export async function completeDefinition(
  options: QemuDriverOptions,
  given: DomainDef,
  previous: DomainDef | undefined,
): Promise<DomainDef> {
  const own = withoutChosenPaths(options, given);
  const definition =
    previous === undefined ? own : dropFormerSpiceAudio(keepIdentity(own, previous), previous);
  checkType(definition);
  if (options.mode === 'session') await checkSession(options, definition);
  if (definition.type === 'kvm') await checkKvm(options, definition);
  checkSev(options, definition);
  const arch = definition.os.type.arch ?? options.hostArch;
  const emulator = definition.devices.emulator ?? (await options.emulators.find(arch));
  if (emulator === undefined) throw noEmulator(definition, arch);
  const placed = { ...definition, devices: { ...definition.devices, emulator } };
  const capabilities = await capabilitiesOf(options, placed);
  const facts = factsOf(options, capabilities, placed);
  const turns = new Turns();
  const complete = await completeFirmware(options, applyDefaults(placed, facts));
  await turns.share();
  // What applyDefaults made is ours alone.
  const addressed = placeDevices(complete, facts);
  await turns.share();
  throwProblems(validateDomain(addressed), `define '${addressed.name}'`, 'definition.unsupported');
  completedWith.set(addressed, capabilities);
  return addressed;
}

/** What a definition was just completed by: its check looks at the binary no second time. */
const completedWith = new WeakMap<DomainDef, QemuCapabilities>();

/**
 * Builds the command line of a complete definition, which finds all that this emulator cannot honour.
 * @throws VirtError definition.unsupported, qemu.missing, qemu.lacks
 */
export async function checkDefinition(options: QemuDriverOptions, definition: DomainDef): Promise<void> {
  const capabilities = completedWith.get(definition) ?? (await capabilitiesOf(options, definition));
  completedWith.delete(definition);
  await dryRun(options, definition, capabilities);
}

/** The command line that a complete definition would be started with. */
async function dryRun(
  options: QemuDriverOptions,
  definition: DomainDef,
  capabilities: QemuCapabilities,
): Promise<QemuCommand> {
  const placed = await withVolumePathsForDisplay(definition, options.volumes);
  return buildCommand(withVsockCid(withAliases(placed)), capabilities, displayContext(options, definition));
}

export async function displayCommandLine(
  options: QemuDriverOptions,
  definition: DomainDef,
): Promise<string[]> {
  const command = await dryRun(options, definition, await capabilitiesOf(options, definition));
  return [command.binary, ...renderArgs(command)];
}

/** A context with everything that is chosen at start standing in: the first port of the range, a directory's pattern. */
function displayContext(options: QemuDriverOptions, definition: DomainDef): BuildContext {
  const directory = join(options.runtimeDirectory, 'g', '0-XXXXXX');
  const ports = definition.devices.graphics.map((_, index) => {
    const port = options.graphicsPorts.first + 3 * index;
    return { port, tlsPort: port + 1, websocket: port + 2 };
  });
  return buildContext(options, directory, 0, ports);
}

function checkType(definition: DomainDef): void {
  if (definition.type === 'kvm' || definition.type === 'qemu') return;
  throw new VirtError('definition.unsupported', {
    wanted: `define '${definition.name}'`,
    reason: `type: '${definition.type}' is another hypervisor's`,
    hint: "use type 'kvm' or 'qemu'",
    details: { problems: [{ path: 'type', message: 'is neither kvm nor qemu' }] },
  });
}

/** The same texts as validation gives; interfaces have a code of their own, with what can be had here instead. */
async function checkSession(options: QemuDriverOptions, definition: DomainDef): Promise<void> {
  const problems = sessionProblems(definition);
  const wanted = `define '${definition.name}'`;
  const first = problems[0];
  if (first?.path.startsWith('devices.interface[') === true) {
    const hint = await options.links?.waysOut?.();
    throw new VirtError('network.session', {
      wanted,
      reason: `${first.path}: ${first.message}`,
      ...(hint !== undefined && { hint }),
      details: { problems },
    });
  }
  throwProblems(problems, wanted, 'definition.unsupported');
  for (const [interfaceIndex, nic] of definition.devices.interfaces.entries())
    await options.links?.check?.({
      domainUuid: definition.uuid ?? '',
      domainName: definition.name,
      interfaceIndex,
      definition: nic,
      queues: nic.driver?.queues ?? 1,
    });
}

export async function checkKvm(options: QemuDriverOptions, definition: DomainDef): Promise<void> {
  const report = await options.kvmReport();
  if (!report.usable) throw kvmUnusable(report, `use KVM for '${definition.name}'`);
  // The daemon may open the node, but a guest of its own uid must be able to, too.
  if (options.mode === 'system' && process.getuid?.() === 0) await kvmGroups();
}

function noEmulator(definition: DomainDef, arch: string): VirtError {
  return new VirtError('qemu.missing', {
    wanted: `define '${definition.name}'`,
    reason: `there is no QEMU for ${arch} on this host`,
    hint: `install it, or name another architecture in <os><type arch='...'>`,
  });
}

/**
 * What a new text of a known domain leaves open stays as it was: its uuid, and the MACs of its interfaces in order,
 * as long as the text gives them to no other interface.
 */
function keepIdentity(given: DomainDef, previous: DomainDef): DomainDef {
  const claimed = new Set(given.devices.interfaces.map(({ mac }) => mac?.address));
  const interfaces = given.devices.interfaces.map((device, index) => {
    const before = previous.devices.interfaces[index];
    const isSame =
      before?.mac !== undefined &&
      before.source.type === device.source.type &&
      !claimed.has(before.mac.address);
    return device.mac === undefined && isSame ? { ...device, mac: before.mac } : device;
  });
  return {
    ...given,
    ...(given.uuid === undefined && previous.uuid !== undefined && { uuid: previous.uuid }),
    devices: { ...given.devices, interfaces },
  };
}

/** What defaults and addresses are decided by, for a definition whose emulator is known. */
export function factsOf(
  options: QemuDriverOptions,
  capabilities: QemuCapabilities,
  definition: DomainDef,
): DefaultsFacts {
  const accelerator = acceleratorOf(capabilities, definition.type);
  const machines = accelerator?.machines ?? [];
  const { devices } = lookupOf(capabilities);
  return {
    hostArch: options.hostArch,
    emulatorFor: () => capabilities.path,
    canonicalMachine: (_arch, name) =>
      machines.find((machine) =>
        name === undefined ? machine.isDefault : machine.name === name || machine.alias === name,
      )?.name,
    newUuid: () => randomUUID(),
    // The end of a UUID is random, and comes from a store of random bytes; three bytes by themselves take ten times as long.
    newMac: () =>
      randomUUID()
        .slice(-6)
        .replace(/(..)(..)(..)/, '52:54:00:$1:$2:$3'),
    hasDevice: (name) => devices.has(name),
    defaultCpu(_arch, machine) {
      const type = machines.find(({ name }) => name === machine)?.defaultCpuType;
      return accelerator?.cpuModels.find(({ typename }) => typename === type)?.name;
    },
  };
}

/** A binary without the wanted accelerator fails later, with a better message than "no machines". */
function acceleratorOf(capabilities: QemuCapabilities, type: string): AcceleratorCapabilities | undefined {
  const { kvm, tcg } = capabilities.accelerators;
  return type === 'kvm' ? (kvm ?? tcg) : (tcg ?? kvm);
}

/** Chooses firmware for firmware='efi', and a place for the variables of a loader that keeps some. */
async function completeFirmware(options: QemuDriverOptions, definition: DomainDef): Promise<DomainDef> {
  const { os } = definition;
  const needsChoice = os.firmware !== undefined && os.loader?.path === undefined;
  const selected = needsChoice
    ? selectFirmware(
        definition,
        await firmwareDescriptors(options.firmwareDirectories),
        os.type.machine ?? '',
      )
    : undefined;
  const chosen = selected === undefined ? definition : withFirmware(definition, selected);
  const { nvram } = chosen.os;
  if (nvram === undefined || nvram.path !== undefined || nvram.source !== undefined) return chosen;
  const path = defaultNvramPath(options.nvramDirectory, chosen.uuid ?? '');
  return { ...chosen, os: { ...chosen.os, nvram: { ...nvram, path } } };
}

/** The definition with what was chosen written out, as libvirt does it: another choice tomorrow changes no guest. */
function withFirmware(definition: DomainDef, selected: SelectedFirmware): DomainDef {
  const { os, features } = definition;
  const loader = {
    ...os.loader,
    readonly: true,
    type: selected.type,
    secure: selected.secure,
    ...(selected.stateless && { stateless: true }),
    ...(selected.loader.format !== 'raw' && { format: selected.loader.format }),
    path: selected.loader.path,
  };
  const template = selected.nvramTemplate;
  const nvram = template && {
    ...os.nvram,
    template: os.nvram?.template ?? template.path,
    ...(template.format !== 'raw' && { templateFormat: template.format, format: template.format }),
  };
  return {
    ...definition,
    os: { ...os, loader, ...(nvram && { nvram }) },
    ...(selected.secure && { features: { ...features, smm: { ...features?.smm, state: true } } }),
  };
}
