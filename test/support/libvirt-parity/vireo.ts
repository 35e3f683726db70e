/** Asks our own engine what it makes of the documents: the model and the QEMU driver, without a daemon around them. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { hostDocuments } from '../../../src/drivers/qemu/capabilities.ts';
import { QemuDriver } from '../../../src/drivers/qemu/driver.ts';
import { defaultUidRange } from '../../../src/drivers/qemu/identity.ts';
import { defaultLogLimits } from '../../../src/drivers/qemu/log-file.ts';
import { defaultTimeouts, type EmulatorSource } from '../../../src/drivers/qemu/options.ts';
import { CapabilityCache } from '../../../src/drivers/qemu/probe/cache.ts';
import { emulatorFor } from '../../../src/drivers/qemu/probe/find.ts';
import { readHostFacts } from '../../../src/kvm/host-facts.ts';
import { probeKvm } from '../../../src/kvm/report.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { readImageHeader } from '../../../src/storage/image-header/read.ts';
import type { ParityDocument } from './documents.ts';
import { type Answer, type DaemonAnswers, parityMachines } from './libvirt.ts';

const firmwareDirectories = ['/usr/share/qemu/firmware'];

/** Answers for all documents; files of guests go below `directory`. */
export async function askVireo(
  documents: readonly ParityDocument[],
  directory: string,
): Promise<DaemonAnswers> {
  await mkdir(directory, { recursive: true });
  const driver = parityDriver(directory);
  const found = new Map<string, Answer>();
  for (const document of documents) found.set(document.name, await answer(driver, document));
  const domainCapabilities: Record<string, string> = {};
  for (const machine of parityMachines)
    domainCapabilities[machine] = await driver.domainCapabilitiesXml({ virtType: 'qemu', machine });
  return { documents: found, capabilities: await driver.capabilitiesXml(), domainCapabilities };
}

function parityDriver(directory: string): QemuDriver {
  const probe = { timeoutMs: 60_000, runtimeDirectory: directory };
  const cache = new CapabilityCache({ directory: join(directory, 'cache'), probe, log: silentLogger });
  const emulators: EmulatorSource = {
    capabilities: (path) => cache.get(path),
    find: async (arch) => (await emulatorFor(arch)).path,
  };
  return new QemuDriver({
    mode: 'system',
    runtimeDirectory: join(directory, 'run'),
    nvramDirectory: '/var/lib/libvirt/qemu/nvram',
    tpmDirectory: join(directory, 'tpm'),
    logDirectory: join(directory, 'log'),
    firmwareDirectories,
    hostArch: 'x86_64',
    graphicsPorts: { first: 5900, last: 5999 },
    timeouts: defaultTimeouts,
    logLimits: defaultLogLimits,
    openFiles: 4096,
    uidRange: defaultUidRange,
    sandbox: true,
    allowCommandLinePassthrough: true,
    logger: silentLogger,
    emulators,
    documents: hostDocuments({
      emulators,
      hostFacts: () => readHostFacts(),
      kvmReport: () => probeKvm(),
      firmwareDirectories,
      log: silentLogger,
    }),
    images: { readHeader: readImageHeader },
    kvmReport: () => probeKvm(),
  });
}

async function answer(driver: QemuDriver, { xml, live, insert }: ParityDocument): Promise<Answer> {
  try {
    const complete = await driver.prepare(parse(xml));
    return {
      inactive: print(complete),
      argv: await driver.commandLine(complete),
      ...(live && { live: await liveXml(driver, complete) }),
      ...(insert !== undefined && { again: await definedAgain(driver, complete, insert) }),
    };
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    return { error: `${error.code}: ${error.message} ${JSON.stringify(error.details ?? {})}` };
  }
}

/** Front doors that take libvirt's XML read it leniently. */
function parse(xml: string): DomainDef {
  return parseDomain(xml, { mode: 'lenient' }).definition;
}

function print(definition: DomainDef): string {
  return formatDomain(definition, { inactive: true });
}

async function liveXml(driver: QemuDriver, definition: DomainDef): Promise<string> {
  const guest = await driver.start(definition, 1, { paused: true });
  try {
    return formatDomain(guest.definition, { id: 1 });
  } finally {
    await guest.kill({ force: true, graceMs: 0 });
    await driver.cleanUp(guest.record, guest.definition);
  }
}

async function definedAgain(driver: QemuDriver, previous: DomainDef, insert: string): Promise<string> {
  const given = print(previous).replace('<devices>', `<devices>${insert}`);
  return print(await driver.prepare(parse(given), previous));
}
