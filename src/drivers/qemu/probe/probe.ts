/** Asks a QEMU binary what it can: one short run for everything, and one more for KVM where that can be used. */
import { stat } from 'node:fs/promises';
import { fileError, isVirtError, reasonOf } from '../../../base/errors.ts';
import { run } from '../../../base/exec.ts';
import { mayUse } from '../../../base/files.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { QmpObject } from '../qmp/codec.ts';
import type { QemuMachineInfo } from '../qmp/replies.ts';
import { archOfTarget } from './arch.ts';
import { type CandidateModel, candidateModels, closestModel, cpuModelOf, expandModel } from './cpu.ts';
import { isConfiguredDevice, schemaOfInterest, withoutBroken } from './interest.ts';
import { entitiesOf, enumValues, flattenCommand, namesOf } from './schema.ts';
import { type ProbeOptions, probeError, type SessionRequest, withSession } from './session.ts';
import type {
  AcceleratorCapabilities,
  QemuCapabilities,
  QemuCpuModel,
  QemuMachine,
  SevCapabilities,
} from './types.ts';

/** What one run answers: everything but the facts of the file and of the other accelerator. */
type Answers = Omit<
  QemuCapabilities,
  'format' | 'path' | 'sizeBytes' | 'ctimeMs' | 'accelerators' | 'kvm'
> & {
  readonly kvm: { readonly present: boolean; readonly enabled: boolean };
  readonly accelerator: AcceleratorCapabilities;
};

/** A binary with more deadly devices than this is not worth having. */
const MAX_RESTARTS = 4;

/** The device node through which KVM is used. */
const KVM_DEVICE = '/dev/kvm';

/** True when this process may open KVM's device; whether it works is for QEMU to find out. */
export async function isKvmAccessible(): Promise<boolean> {
  return mayUse(KVM_DEVICE);
}

/**
 * Probes one binary. Two QEMU processes at most, one after the other; both are gone when this settles.
 * @throws VirtError qemu.probe-failed (it died, hung, or isn't a QEMU; details: end of stderr, timedOut), file.*,
 *   operation.aborted
 */
export async function probeQemu(path: string, options: ProbeOptions): Promise<QemuCapabilities> {
  const deadlineMs = Date.now() + options.timeoutMs;
  const file = await stat(path).catch((error: unknown) => {
    throw fileError(error, 'look at the QEMU binary', path);
  });
  const request = { ...options, path, deadlineMs };
  const first = await askSurviving({ ...request, accelerator: 'tcg:kvm' });
  const kvm = first.kvm.enabled ? first.accelerator : await probeKvm(request, first);
  const { accelerator, ...answers } = first;
  return {
    format: 1,
    path,
    sizeBytes: file.size,
    ctimeMs: file.ctimeMs,
    ...answers,
    kvm: { present: first.kvm.present, enabled: kvm !== undefined },
    accelerators: { ...(!first.kvm.enabled && { tcg: accelerator }), ...(kvm !== undefined && { kvm }) },
    audiodevs: await installed(request, 'audiodev', answers.audiodevs),
    displays: await installed(request, 'display', answers.displays),
  };
}

/** What the binary offers under KVM; undefined when it can't be used here. */
async function probeKvm(
  request: Omit<SessionRequest, 'accelerator'>,
  first: Answers,
): Promise<AcceleratorCapabilities | undefined> {
  if (!first.kvm.present || !(await isKvmAccessible())) return undefined;
  try {
    return await withSession({ ...request, accelerator: 'kvm' }, (client) =>
      askKvmAccelerator(client, first.accelerator.machines, first.commands),
    );
  } catch (error) {
    // QEMU ends itself when it cannot set KVM up: that is an answer. A hang is none.
    if (isDeath(error)) return undefined;
    throw error;
  }
}

/**
 * Asks everything in one session; in a new one, without the device that QEMU died of, when it dies while it tells the
 * properties of a device. (It makes one to find out, and a device that is built or installed badly may end QEMU.)
 */
async function askSurviving(request: SessionRequest): Promise<Answers> {
  const deadly = new Set<string>();
  for (let restarts = 0; ; restarts++) {
    const before = deadly.size;
    try {
      return await withSession(request, (client) => askEverything(client, deadly));
    } catch (error) {
      if (deadly.size === before || restarts >= MAX_RESTARTS || !isDeath(error)) throw error;
    }
  }
}

/** QEMU ended by itself, as opposed to having hung or been cancelled. */
function isDeath(error: unknown): boolean {
  return isVirtError(error, 'qemu.probe-failed') && error.details?.['timedOut'] !== true;
}

/** `deadly`: devices not to be asked about; gets the one that QEMU dies of. */
async function askEverything(client: QmpClient, deadly: Set<string>): Promise<Answers> {
  const { arch } = await client.execute('query-target');
  const kvm = await client.execute('query-kvm');
  // Asking for types makes QEMU load its modules, so this comes before what modules add to.
  const types = (await listTypes(client, 'device')).filter((name) => !name.endsWith('-cpu'));
  const devices = withoutBroken(types).filter((name) => !deadly.has(name));
  const schema = await askSchema(client);
  const machines = (await client.execute('query-machines')).map(machineOf).sort(byName);
  return {
    arch: archOfTarget(arch),
    version: versionOf(client),
    package: client.version.package,
    kvm: { present: kvm.present, enabled: kvm.enabled },
    accelerator: await (kvm.enabled
      ? askKvmAccelerator(client, machines, schema.commands)
      : askAccelerator(client, 'max', machines)),
    devices,
    objects: await listTypes(client, 'user-creatable'),
    deviceProperties: await askDeviceProperties(client, devices, deadly),
    ...schema,
    ...(await askOptions(client)),
    ...(await askTpm(client, schema.commands)),
    ...(await askGic(client, schema.commands)),
  };
}

function versionOf(client: QmpClient): QemuCapabilities['version'] {
  const { major, minor, micro } = client.version;
  return { major, minor, micro };
}

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : 1;

function machineOf(info: QemuMachineInfo): QemuMachine {
  const { alias, acpi, 'default-cpu-type': defaultCpuType, 'default-ram-id': defaultRamId } = info;
  return {
    name: info.name,
    ...(alias !== undefined && { alias }),
    isDefault: info['is-default'] ?? false,
    maxCpus: info['cpu-max'],
    hotpluggableCpus: info['hotpluggable-cpus'],
    numaMemSupported: info['numa-mem-supported'],
    deprecated: info.deprecated ?? false,
    ...(defaultCpuType !== undefined && { defaultCpuType }),
    ...(defaultRamId !== undefined && { defaultRamId }),
    ...(acpi !== undefined && { acpi }),
  };
}

async function listTypes(client: QmpClient, base: string): Promise<string[]> {
  const types = await client.execute('qom-list-types', { implements: base });
  return types.map(({ name }) => name).sort();
}

async function askAccelerator(
  client: QmpClient,
  hostName: 'host' | 'max',
  machines: readonly QemuMachine[],
): Promise<AcceleratorCapabilities> {
  const definitions = await optional(client.execute('query-cpu-definitions'), []);
  const cpuModels = definitions.map(cpuModelOf).sort(byName);
  const hostModel = await expandModel(client, 'full', hostName);
  const staticHostModel = await expandModel(client, 'static', hostName);
  const closest = staticHostModel && closestModel(staticHostModel, await expandCandidates(client, cpuModels));
  return {
    machines,
    cpuModels,
    ...(hostModel && { hostModel }),
    ...(staticHostModel && { staticHostModel }),
    ...(closest && { closestModel: closest }),
  };
}

/** The same under KVM, which alone can encrypt memory. */
async function askKvmAccelerator(
  client: QmpClient,
  machines: readonly QemuMachine[],
  commands: readonly string[],
): Promise<AcceleratorCapabilities> {
  const accelerator = await askAccelerator(client, 'host', machines);
  const sev = await askSev(client, commands);
  return { ...accelerator, ...(sev && { sev }) };
}

/** A QEMU that is built with SEV has the command and refuses it where the host has none ("SEV is not enabled in KVM"). */
async function askSev(client: QmpClient, commands: readonly string[]): Promise<SevCapabilities | undefined> {
  if (!commands.includes('query-sev-capabilities')) return undefined;
  const answer = await optional(client.execute('query-sev-capabilities'), undefined);
  if (answer === undefined) return undefined;
  const {
    cbitpos,
    'reduced-phys-bits': reducedPhysBits,
    pdh,
    'cert-chain': certChain,
    'cpu0-id': cpu0Id,
  } = answer;
  return { cbitpos, reducedPhysBits, pdh, certChain, ...(cpu0Id !== undefined && { cpu0Id }) };
}

async function expandCandidates(
  client: QmpClient,
  models: readonly QemuCpuModel[],
): Promise<ReadonlyMap<string, CandidateModel>> {
  const expanded = new Map<string, CandidateModel>();
  for (const { name, unavailableFeatures } of candidateModels(models)) {
    const model = await expandModel(client, 'static', name);
    if (model === undefined) continue;
    expanded.set(name, { ...model, ...(unavailableFeatures !== undefined && { unavailableFeatures }) });
  }
  return expanded;
}

type SchemaFacts = Pick<
  QemuCapabilities,
  'commands' | 'events' | 'schema' | 'chardevs' | 'netdevs' | 'audiodevs' | 'displays'
>;

async function askSchema(client: QmpClient): Promise<SchemaFacts> {
  const raw: readonly QmpObject[] = await client.execute('query-qmp-schema');
  const entities = entitiesOf(raw);
  const schema = schemaOfInterest.flatMap(({ command, part }) => flattenCommand(entities, command, part));
  return {
    commands: namesOf(raw, 'command'),
    events: namesOf(raw, 'event'),
    schema,
    chardevs: enumValues(schema, 'chardev-add/arg-type/backend/type'),
    netdevs: enumValues(schema, 'netdev_add/arg-type/type'),
    audiodevs: enumValues(schema, 'query-audiodevs/ret-type/driver'),
    displays: enumValues(schema, 'query-display-options/ret-type/type'),
  };
}

async function askDeviceProperties(
  client: QmpClient,
  devices: readonly string[],
  deadly: Set<string>,
): Promise<QemuCapabilities['deviceProperties']> {
  const byDevice: Record<string, string[]> = {};
  for (const typename of devices.filter(isConfiguredDevice)) {
    const answer = client.execute('device-list-properties', { typename });
    const properties = await optional(answer, []).catch((error: unknown) => {
      if (isVirtError(error, 'qmp.closed')) deadly.add(typename);
      throw error;
    });
    // Experimental properties (x-...) change without notice, and those with an index are QEMU's inner wires.
    const names = properties.map(({ name }) => name).filter((name) => !/^x-|\[/.test(name));
    byDevice[typename] = names.sort();
  }
  return byDevice;
}

async function askOptions(client: QmpClient): Promise<Pick<QemuCapabilities, 'options' | 'sandbox'>> {
  const infos = await client.execute('query-command-line-options');
  const entries = infos.map((info) => [info.option, info.parameters.map(({ name }) => name).sort()] as const);
  const options = Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  return { options, sandbox: Object.hasOwn(options, 'sandbox') };
}

async function askTpm(
  client: QmpClient,
  commands: readonly string[],
): Promise<Pick<QemuCapabilities, 'tpmModels' | 'tpmTypes'>> {
  if (!commands.includes('query-tpm-models')) return { tpmModels: [], tpmTypes: [] };
  return {
    tpmModels: (await client.execute('query-tpm-models')).toSorted(),
    tpmTypes: (await client.execute('query-tpm-types')).toSorted(),
  };
}

async function askGic(
  client: QmpClient,
  commands: readonly string[],
): Promise<Pick<QemuCapabilities, 'gicVersions'>> {
  if (!commands.includes('query-gic-capabilities')) return {};
  const gics = await optional(client.execute('query-gic-capabilities'), []);
  return { gicVersions: [...new Set(gics.map(({ version }) => version))].sort((a, b) => a - b) };
}

/** The answer, or `fallback` where this QEMU refuses the question (an architecture without CPU models, ...). */
async function optional<T, F = T>(answer: Promise<T>, fallback: F): Promise<T | F> {
  try {
    return await answer;
  } catch (error) {
    if (isVirtError(error, 'qmp.failed')) return fallback;
    throw error;
  }
}

/**
 * The backends of `-audiodev` or `-display` that are really there. The schema tells what was compiled, but many are
 * modules that may not be installed, and QEMU before 8.0 has no schema for audio. Where help isn't understood
 * (`-audiodev help` before 7.1), the schema's list stands.
 */
async function installed(
  request: Omit<SessionRequest, 'accelerator'>,
  option: 'audiodev' | 'display',
  compiled: readonly string[],
): Promise<readonly string[]> {
  const timeoutMs = Math.max(1, request.deadlineMs - Date.now());
  const { signal } = request;
  try {
    const { stdout } = await run(request.path, [`-${option}`, 'help'], {
      timeoutMs,
      ...(signal && { signal }),
    });
    const names = stdout.split('\n').filter((line) => /^[a-z0-9-]+$/.test(line));
    return names.length > 0 ? names.sort() : compiled;
  } catch (error) {
    if (isVirtError(error, 'program.failed')) return compiled;
    throw probeError(request.path, reasonOf(error), error);
  }
}
