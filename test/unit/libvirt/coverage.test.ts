/** Which procedures are answered: docs/libvirt-coverage.md, written from the tables (`vitest -u` rewrites it). */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { Engine } from '../../../src/daemon/frontends/libvirt/context.ts';
import { buildHandlerTable } from '../../../src/daemon/frontends/libvirt/handlers/table.ts';
import { wireName } from '../../../src/libvirt/protocol/procedure.ts';
import { type Program, qemuProgram, remoteProgram } from '../../../src/libvirt/protocol/programs.ts';
import { fakeEngine } from './rig.ts';

interface Row {
  readonly wire: string;
  readonly number: number;
  readonly state: 'answered' | 'nowhere' | 'not supported';
  /** Real clients that had it answered, in tests. */
  readonly clients: readonly string[];
}

/** By scripts/libvirt-proof.ts, from what daemons logged while the tests ran. */
const proof = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../support/libvirt-proof.json'), 'utf8'),
) as Readonly<Record<string, readonly string[]>>;

/** What libvirtd answers with error 3 for guests of QEMU, too: calls for containers, for netcf, and of old migrations. */
const nowhere: ReadonlySet<string> = new Set([
  'connectDomainXmlFromNative',
  'domainCreateXmlWithFiles',
  'domainCreateWithFiles',
  'domainSendProcessSignal',
  'domainMigratePrepare',
  'domainMigrateFinish',
  'interfaceDefineXml',
  'interfaceUndefine',
  'interfaceCreate',
  'interfaceDestroy',
  'interfaceChangeBegin',
  'interfaceChangeCommit',
  'interfaceChangeRollback',
]);

function rowsOf(program: Program, engine: Engine): Row[] {
  const table = buildHandlerTable(engine);
  return [...program.byNumber.values()]
    .filter(({ procedure }) => procedure.kind === 'call')
    .map(({ name, procedure }) => {
      const isAnswered = table.find(program.name, name) !== undefined;
      const lacking = nowhere.has(name) ? 'nowhere' : 'not supported';
      const state = isAnswered ? 'answered' : lacking;
      const clients = proof[name] ?? [];
      return { wire: wireName(name, procedure), number: procedure.number, state, clients } as const;
    });
}

/** The kind of thing a call is about, by its first words. */
function areaOf(wire: string): string {
  const area =
    /^(CONNECT|DOMAIN_(?:SNAPSHOT|CHECKPOINT|MIGRATE|BLOCK)|DOMAIN|NETWORK|STORAGE_(?:POOL|VOL)|NODE_DEVICE|NODE|INTERFACE|SECRET|NWFILTER|AUTH)/;
  return area.exec(wire)?.[1] ?? 'other';
}

function sections(title: string, rows: readonly Row[]): string[] {
  const areas = [...new Set(rows.map(({ wire }) => areaOf(wire)))].sort();
  return areas.flatMap((area) => {
    const own = rows.filter(({ wire }) => areaOf(wire) === area);
    const answered = own.filter(({ state }) => state === 'answered').length;
    const lines = own.map(
      ({ wire, number, state, clients }) => `| ${wire} | ${number} | ${state} | ${clients.join(', ')} |`,
    );
    return [
      '',
      `## ${title}${area}: ${answered} of ${own.length}`,
      '',
      '| call | no. | state | answered to |',
      '|---|---|---|---|',
      ...lines,
    ];
  });
}

it('is known where a client has shown it', () => {
  const { engine } = fakeEngine('/nonexistent');
  const rows = [...rowsOf(remoteProgram, engine), ...rowsOf(qemuProgram, engine)];
  const shown = rows.filter(({ clients }) => clients.length > 0);
  expect(shown.filter(({ state }) => state !== 'answered')).toEqual([]);
  expect(shown).toHaveLength(Object.keys(proof).length);
});

it('is as docs/libvirt-coverage.md says', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-coverage-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const { engine } = fakeEngine(directory);
  const remote = rowsOf(remoteProgram, engine);
  const qemu = rowsOf(qemuProgram, engine);
  const count = (state: Row['state']) => [...remote, ...qemu].filter((row) => row.state === state).length;
  const page = [
    "# Coverage of libvirt's protocol",
    '',
    'Written by `test/unit/libvirt/coverage.test.ts`. *Answered*: by the engine. *Not supported*: error 3, which clients take as',
    '"not here" and go on. *Nowhere*: the same, and libvirtd answers so for guests of QEMU, too. Events are sent as the engine has',
    'them. *Answered to* names unmodified clients that got an answer which is no error, in the tests with real guests and in the',
    'comparison of virsh with libvirtd; it is read from what daemons log on level `debug` (`scripts/libvirt-proof.ts`). Clients that',
    'were tried by hand are in [libvirt-differences.md](libvirt-differences.md); calls without one are held by unit tests with our own client.',
    '',
    `Of ${remote.length + qemu.length} calls ${count('answered')} are answered, ${count('nowhere')} are nowhere, ${count('not supported')} are not supported.`,
    ...sections('', remote),
    ...sections('QEMU program, ', qemu),
    '',
  ].join('\n');
  await expect(page).toMatchFileSnapshot(join(import.meta.dirname, '../../../docs/libvirt-coverage.md'));
});
