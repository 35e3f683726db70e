/** The whole command line of a domain: a pure function of its definition, the binary's capabilities and the context. */
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { QemuCapabilities } from '../probe/types.ts';
import { BootOrder, buildBoot } from './boot.ts';
import { buildActions, buildPowerManagement, buildRtc, buildTimers } from './clock.ts';
import { Build } from './context.ts';
import { buildControllers, buildIothreads } from './controller.ts';
import { buildCpu, buildSmp } from './cpu.ts';
import { buildDisks } from './disk.ts';
import { buildFilesystems } from './filesystem.ts';
import { buildFirmware, buildKernel } from './firmware.ts';
import { buildGraphics } from './graphics.ts';
import { buildHostdevs, buildRedirdevs } from './hostdev.ts';
import { buildHubs, buildInputs } from './input.ts';
import { buildInterfaces } from './interface.ts';
import { buildLaunchSecurity } from './launch-security.ts';
import {
  buildAccelerator,
  buildFeatureDevices,
  buildMachine,
  findMachine,
  refuseFeatures,
} from './machine.ts';
import { buildMainMemory, buildMemorySize, buildOvercommit } from './memory.ts';
import { buildMemoryDevices, buildShmems } from './memory-device.ts';
import { buildNuma, needsHmat } from './numa.ts';
import { buildPassthrough } from './passthrough.ts';
import { refuseUnsupported } from './refused.ts';
import { buildRngs } from './rng.ts';
import { buildSerials } from './serial.ts';
import { buildBalloon, buildIommu, buildPanics, buildVsock, buildWatchdogs } from './small.ts';
import { buildSmartcards } from './smartcard.ts';
import { buildSysinfo } from './smbios.ts';
import { buildAudios, buildSounds } from './sound.ts';
import { buildTpms } from './tpm.ts';
import type { BuildContext, QemuCommand } from './types.ts';
import { buildVideos } from './video.ts';

/**
 * Builds the command line of a complete definition (defaults, addresses and aliases assigned). Pure: nothing is
 * opened or looked up; what QEMU will need is listed in the answer.
 * @throws VirtError definition.unsupported with every part that cannot be honoured, or qemu.lacks with every device
 *   and property that this binary does not have; Error when an alias is missing, which is a bug of the caller
 */
export function buildCommand(
  definition: DomainDef,
  capabilities: QemuCapabilities,
  context: BuildContext,
): QemuCommand {
  const b = new Build(definition, capabilities, context);
  refuseUnsupported(b);
  buildBasics(b);
  buildBoard(b);
  buildRunning(b);
  buildDevices(b);
  buildPassthrough(b);
  return b.finish(definition.devices.emulator ?? capabilities.path);
}

/** Who the process is and what it may do. */
function buildBasics(b: Build): void {
  b.pairs('-name', [
    ['guest', b.definition.name],
    ['debug-threads', true],
  ]);
  b.word('-S');
  b.word('-no-user-config');
  b.word('-nodefaults');
  if (b.context.sandbox) buildSandbox(b);
  b.pairs('-msg', [['timestamp', true]]);
}

/** seccomp without what an exploited QEMU would like to have (QEMU docs, -sandbox). */
function buildSandbox(b: Build): void {
  if (!b.caps.sandbox) b.lacks('', 'seccomp sandbox (option -sandbox)');
  b.pairs('-sandbox', [
    ['', 'on'],
    ['obsolete', 'deny'],
    ['elevateprivileges', 'deny'],
    ['spawn', 'deny'],
    ['resourcecontrol', 'deny'],
  ]);
}

/** The board: machine, CPUs, memory, firmware. */
function buildBoard(b: Build): void {
  const machine = findMachine(b);
  refuseFeatures(b);
  const pflash = buildFirmware(b);
  const memoryBackend = buildMainMemory(b, machine?.defaultRamId);
  const confidential = buildLaunchSecurity(b);
  buildMachine(b, { memoryBackend, pflash, hmat: needsHmat(b), confidential });
  buildAccelerator(b);
  buildCpu(b);
  buildMemorySize(b);
  buildOvercommit(b);
  buildSmp(b);
  buildIothreads(b);
  buildNuma(b);
  b.word('-uuid', b.definition.uuid ?? '');
  buildSysinfo(b);
}

/** How it runs: monitor, clock, power, boot. */
function buildRunning(b: Build): void {
  const fd = b.need({ kind: 'listen', path: b.context.qmpSocket });
  b.pairs('-chardev', [
    ['', 'socket'],
    ['id', 'charmonitor'],
    ['fd', fd],
    ['server', true],
    ['wait', false],
  ]);
  b.pairs('-mon', [
    ['chardev', 'charmonitor'],
    ['id', 'monitor'],
    ['mode', 'control'],
  ]);
  buildRtc(b);
  buildTimers(b);
  buildActions(b);
  buildPowerManagement(b);
  buildBoot(b);
  buildKernel(b);
}

/** All devices, each after those that it names. */
function buildDevices(b: Build): void {
  const boot = new BootOrder(b);
  buildFeatureDevices(b);
  buildIommu(b);
  buildControllers(b);
  buildHubs(b);
  buildAudios(b);
  buildGraphics(b);
  buildDisks(b, boot);
  buildFilesystems(b);
  buildInterfaces(b, boot);
  buildSmartcards(b);
  buildSerials(b);
  buildTpms(b);
  buildInputs(b);
  buildVideos(b);
  buildSounds(b);
  buildWatchdogs(b);
  buildBalloon(b);
  buildRngs(b);
  buildHostdevs(b);
  buildRedirdevs(b);
  buildMemoryDevices(b);
  buildShmems(b);
  buildPanics(b);
  buildVsock(b);
}
