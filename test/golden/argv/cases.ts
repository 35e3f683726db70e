/** The golden cases of argv building, and how each becomes a command: shared by the golden and the integration test. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { renderArgs, renderValue } from '../../../src/drivers/qemu/argv/render.ts';
import type { BuildContext, QemuCommand } from '../../../src/drivers/qemu/argv/types.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { assignAddresses } from '../../../src/model/domain/addresses/assign.ts';
import { assignAliases } from '../../../src/model/domain/aliases.ts';
import { applyDefaults } from '../../../src/model/domain/defaults.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';

const directory = import.meta.dirname;

export const caseNames: readonly string[] = readdirSync(directory)
  .filter((name) => name.endsWith('.xml'))
  .map((name) => name.slice(0, -'.xml'.length))
  .sort();

export const readCase = (name: string): string => readFileSync(join(directory, `${name}.xml`), 'utf8');

export const argsFile = (name: string, version: string): string =>
  join(directory, `${name}.x86_64-${version}.args`);

/** Recorded capabilities: `7.2`, `10`. */
export function recorded(version: string): QemuCapabilities {
  const file = join(directory, '..', 'capabilities', `x86_64-${version}.json`);
  return JSON.parse(readFileSync(file, 'utf8')) as QemuCapabilities;
}

/** A definition with defaults, addresses and aliases, as the driver hands it to buildCommand. */
export function complete(xml: string, capabilities: QemuCapabilities): DomainDef {
  const { definition } = parseDomain(xml, { mode: 'strict' });
  const accelerator = capabilities.accelerators[definition.type === 'kvm' ? 'kvm' : 'tcg'];
  const filled = applyDefaults(definition, {
    hostArch: 'x86_64',
    emulatorFor: () => capabilities.path,
    canonicalMachine: (_arch, name) =>
      accelerator?.machines.find((machine) =>
        name === undefined ? machine.isDefault : machine.name === name || machine.alias === name,
      )?.name,
    newUuid: () => '99999999-2222-4333-8444-000000000000',
    newMac: () => '52:54:00:99:99:99',
    hasDevice: (name) => capabilities.devices.includes(name),
  });
  return assignAliases(assignAddresses(filled));
}

/** A context in which everything is allowed and decided. */
export const context: BuildContext = {
  domainId: 1,
  directory: '/run/vireo/g/1',
  qmpSocket: '/run/vireo/g/1/qmp.sock',
  nvramDirectory: '/var/lib/vireo/nvram',
  tpmDirectory: '/var/lib/vireo/tpm',
  logDirectory: '/var/log/vireo',
  mode: 'system',
  sandbox: true,
  vhostNet: true,
  hostArch: 'x86_64',
  allowCommandLinePassthrough: true,
  graphicsPorts: [{ port: 5905, websocket: 5705 }],
  nowMs: Date.UTC(2026, 10, 21, 12, 0, 0),
  scsiNode: (place) => (place === '2:0:0:1' ? '/dev/sg3' : undefined),
};

export function build(name: string, capabilities: QemuCapabilities): QemuCommand {
  return buildCommand(complete(readCase(name), capabilities), capabilities, context);
}

/** One option a line; then what the process inherits, who runs beside it, and what is said by QMP. */
export function describeCommand(command: QemuCommand): string {
  const files = renderArgs({ ...command, args: [], passthrough: [] });
  const pairs = files.flatMap((word, index) => (index % 2 === 0 ? [`${word} ${files[index + 1]}`] : []));
  const options = command.args.map(({ flag, value }) =>
    value === undefined ? flag : `${flag} ${renderValue(value)}`,
  );
  const rest = [
    ...command.passthrough.map((word) => `# word ${word}`),
    ...command.fds.map((need) => `# fd ${JSON.stringify(need)}`),
    ...command.helpers.map((need) => `# helper ${JSON.stringify(need)}`),
    ...command.setup.map((step) => `# qmp ${JSON.stringify(step)}`),
    ...Object.entries(command.ptys).map(([id, alias]) => `# pty ${id} ${alias}`),
    ...Object.entries(command.sockets).map(([alias, path]) => `# socket ${alias} ${path}`),
    ...Object.entries(command.environment).map(([key, value]) => `# env ${key}=${value}`),
  ];
  return `${[command.binary, ...pairs, ...options, ...rest].join('\n')}\n`;
}
