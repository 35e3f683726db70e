/**
 * Which real clients had which calls of libvirt's protocol answered: read from logs that daemons wrote on level `debug`
 * while the tests ran, for docs/libvirt-coverage.md.
 *
 *   mkdir DIR; VIREO_PROOF=DIR npx vitest run --project host --project alone test/e2e test/integration/virsh-parity.test.ts
 *   node scripts/libvirt-proof.ts DIR; npx vitest run --project unit test/unit/libvirt/coverage.test.ts -u
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const output = join(import.meta.dirname, '../test/support/libvirt-proof.json');

/** Clients by the names of their programs; others (our own tests) prove nothing. */
const clients: Readonly<Record<string, string>> = {
  virsh: 'virsh',
  python3: 'python',
  perl: 'Sys::Virt',
  'virt-install': 'virt-install',
  'virt-clone': 'virt-clone',
  'virt-xml': 'virt-xml',
  'virt-viewer': 'virt-viewer',
  virtnbdbackup: 'virtnbdbackup',
  virtnbdrestore: 'virtnbdbackup',
};

interface Line {
  readonly program?: string;
  readonly answered?: readonly string[];
}

function linesOf(path: string): Line[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"answered":['))
    .map((line) => JSON.parse(line) as Line);
}

function collect(directory: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const name of readdirSync(directory))
    for (const { program = '', answered = [] } of linesOf(join(directory, name))) {
      const known = clients[program];
      if (known === undefined) continue;
      for (const call of answered) found.set(call, (found.get(call) ?? new Set()).add(known));
    }
  return found;
}

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: node scripts/libvirt-proof.ts DIRECTORY');
const found = [...collect(directory)].sort(([a], [b]) => (a < b ? -1 : 1));
const proof = Object.fromEntries(found.map(([call, by]) => [call, [...by].sort()]));
writeFileSync(output, `${JSON.stringify(proof, undefined, 2)}\n`);
process.stdout.write(`${found.length} calls, written to ${output}\n`);
