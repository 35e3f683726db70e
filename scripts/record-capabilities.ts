/**
 * Records the capabilities of a QEMU binary for the golden tests: `record-capabilities.ts BINARY OUT`. What belongs to
 * the file on this host (size, time, directory) is made neutral, so that the same QEMU gives the same record.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeQemu } from '../src/drivers/qemu/probe/probe.ts';
import type { QemuCapabilities } from '../src/drivers/qemu/probe/types.ts';

const TIMEOUT_MS = 120_000;

/** The same capabilities, as if the binary were a distribution's, installed in the usual place. */
function neutral(capabilities: QemuCapabilities): QemuCapabilities {
  const target = capabilities.arch === 'i686' ? 'i386' : capabilities.arch;
  return { ...capabilities, path: `/usr/bin/qemu-system-${target}`, sizeBytes: 0, ctimeMs: 0 };
}

/** One member a line at the top, so that a diff can be read. */
function format(capabilities: QemuCapabilities): string {
  const lines = Object.entries(capabilities).map(
    ([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`,
  );
  return `{\n${lines.join(',\n')}\n}\n`;
}

const [binary, out] = process.argv.slice(2);
if (binary === undefined || out === undefined) {
  process.stderr.write('usage: record-capabilities.ts BINARY OUT\n');
  process.exitCode = 2;
} else {
  // VIREO_RECORD_DIRECTORY: a directory that a binary in a chroot sees under the same name.
  const parent = process.env['VIREO_RECORD_DIRECTORY'] ?? tmpdir();
  const directory = await mkdtemp(join(parent, 'record-'));
  try {
    const capabilities = await probeQemu(binary, { timeoutMs: TIMEOUT_MS, runtimeDirectory: directory });
    await writeFile(out, format(neutral(capabilities)));
    process.stdout.write(`${capabilities.package}: ${out}\n`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
