/**
 * The daemon is killed at random points under load, again and again: what was acknowledged is there, what was not is
 * there whole or not at all, no guest is lost and none runs twice.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { isVirtError } from '../../src/base/errors.ts';
import { commandLine, eventually, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { random } from '../support/random.ts';

const ROUNDS = Number(process.env['CRASH_ROUNDS'] ?? 50);
const SEED = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);

/** What one domain must look like; the id is that of the guest's whole life, so another id is another guest. */
interface Expected {
  readonly isDefined: boolean;
  readonly title: string | null;
  readonly id: number | null;
  readonly state: string;
}

const absent: Expected = { isDefined: false, title: null, id: null, state: 'shutoff' };

/** What a call leads to; a start's id is known only by its answer, and `anyId` stands for it until then. */
const anyId = -1;

const xml = (name: string, title: string) => `<domain type='qemu'><name>${name}</name><title>${title}</title>
  <memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
  <on_poweroff>destroy</on_poweroff><devices/></domain>`;

type Kind = 'persistent' | 'transient' | 'autodestroy';
interface Step {
  readonly what: string;
  readonly call: () => Promise<unknown>;
  readonly outcome: Expected;
}

/** One client with one domain of its own: it knows what was acknowledged and what is under way. */
class Worker {
  readonly name: string;
  readonly kind: Kind;
  private readonly chance: () => number;
  /** As of the last acknowledged call. */
  known: Expected = absent;
  /** What the call under way leads to, when it gets through. */
  underWay: Step | undefined;
  readonly acknowledged: Record<string, number> = {};
  /** Called when a start is sent, for kills in the middle of one. */
  onStart: () => void = () => undefined;

  constructor(name: string, kind: Kind, chance: () => number) {
    this.name = name;
    this.kind = kind;
    this.chance = chance;
  }

  /** Works until the connection breaks. */
  async work(client: VireoClient): Promise<void> {
    for (;;) {
      const step = this.choose(client);
      this.underWay = step;
      if (step.what.startsWith('start')) this.onStart();
      let answer: unknown;
      try {
        answer = await step.call();
      } catch (error) {
        if (isVirtError(error, 'daemon.unreachable')) return;
        throw error;
      }
      this.known = step.outcome.id === anyId ? { ...step.outcome, id: idIn(answer) } : step.outcome;
      this.underWay = undefined;
      this.acknowledged[step.what] = (this.acknowledged[step.what] ?? 0) + 1;
    }
  }

  private choose(client: VireoClient): Step {
    const title = `t${Math.floor(this.chance() * 1e6)}`;
    return this.kind === 'persistent' ? this.persistent(client, title) : this.passing(client, title);
  }

  private persistent(client: VireoClient, title: string): Step {
    const { name, known } = this;
    const dice = this.chance();
    const define = { what: 'define', call: () => client.call('domain.define', { xml: xml(name, title) }) };
    if (!known.isDefined) return { ...define, outcome: { ...absent, isDefined: true, title } };
    if (dice < 0.25)
      return {
        what: 'set-title',
        call: () => client.call('domain.set-title', { domain: name, title }),
        outcome: { ...known, title },
      };
    // A running guest keeps showing the title it runs with.
    if (dice < 0.4) return { ...define, outcome: known.id === null ? { ...known, title } : known };
    if (known.id !== null) return this.onRunning(client, dice);
    if (dice < 0.5)
      return {
        what: 'undefine',
        call: () => client.call('domain.undefine', { domain: name }),
        outcome: absent,
      };
    return {
      what: 'start',
      call: () => client.call('domain.start', { domain: name }),
      outcome: { ...known, id: anyId, state: 'running' },
    };
  }

  /** A guest that is neither stored nor outlives its end. */
  private passing(client: VireoClient, title: string): Step {
    const { known, kind, name } = this;
    if (known.id !== null) return this.onRunning(client, this.chance());
    return {
      what: `start ${kind}`,
      call: () =>
        client.call('domain.create-xml', { xml: xml(name, title), autodestroy: kind === 'autodestroy' }),
      outcome: { isDefined: false, title, id: anyId, state: 'running' },
    };
  }

  private onRunning(client: VireoClient, dice: number): Step {
    const { name, known } = this;
    if (dice < 0.6)
      return known.state === 'running'
        ? {
            what: 'suspend',
            call: () => client.call('domain.suspend', { domain: name }),
            outcome: { ...known, state: 'paused' },
          }
        : {
            what: 'resume',
            call: () => client.call('domain.resume', { domain: name }),
            outcome: { ...known, state: 'running' },
          };
    return {
      what: 'destroy',
      call: () => client.call('domain.destroy', { domain: name }),
      outcome: known.isDefined ? { ...known, id: null, state: 'shutoff', title: null } : absent,
    };
  }

  /** True when what is there now is what was acknowledged, or what the call under way leads to. */
  accepts(now: Expected): boolean {
    if (this.kind === 'autodestroy') return matches(absent, now);
    return matches(this.known, now) || (this.underWay !== undefined && matches(this.underWay.outcome, now));
  }
}

function idIn(answer: unknown): number {
  const { domain, id } = answer as { domain?: { id?: number }; id?: number };
  const found = domain?.id ?? id;
  if (typeof found !== 'number') throw new Error(`a start answered ${JSON.stringify(answer)}`);
  return found;
}

/** After a destroy the stored title shows again, which may have been changed meanwhile: null then stands for any. */
function matches(wanted: Expected, now: Expected): boolean {
  return (
    wanted.isDefined === now.isDefined &&
    wanted.state === now.state &&
    (wanted.id === now.id || (wanted.id === anyId && now.id !== null)) &&
    (wanted.title === now.title || (wanted.title === null && wanted.isDefined))
  );
}

async function seen(client: VireoClient, name: string): Promise<Expected> {
  try {
    const found = await client.call('domain.get', { domain: name });
    return { isDefined: found.persistent, title: found.title, id: found.id, state: found.state };
  } catch (error) {
    if (isVirtError(error, 'domain.not-found')) return absent;
    throw error;
  }
}

function runningUuids(root: string): string[] {
  return qemuProcesses(root).map((pid) => {
    const argv = commandLine(pid);
    return argv[argv.indexOf('-uuid') + 1] ?? `process ${pid}`;
  });
}

/** Nothing lies about that belongs to no running guest and no stored domain, once the autodestroyed are cleaned up. */
async function expectNoLitter(root: string, counts: { running: number; defined: number }): Promise<void> {
  const files = () => ({
    guests: readdirSync(join(root, 'run/vireo/g')).length,
    status: readdirSync(join(root, 'run/vireo/status')).length,
    definitions: readdirSync(join(root, 'etc/vireo/domains')).length,
  });
  const wanted = { guests: counts.running, status: counts.running, definitions: counts.defined };
  const isClean = () => JSON.stringify(files()) === JSON.stringify(wanted);
  await eventually(`no litter: ${JSON.stringify(wanted)}`, isClean, 3000).catch(() =>
    expect(files()).toEqual(wanted),
  );
}

describeWith(['root', 'qemu-system-x86_64'], 'a daemon killed under load', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await TestDaemon.start({ args: ['--log-level', 'error'] });
    // The first define asks QEMU for its capabilities, which takes longer than a round.
    await using client = await daemon.connect();
    await client.call('domain.define', { xml: xml('warm', 'warm') });
    await client.call('domain.start', { domain: 'warm' });
    await client.call('domain.destroy', { domain: 'warm' });
    await client.call('domain.undefine', { domain: 'warm' });
  });
  afterAll(() => daemon.remove());

  const chance = random(SEED);

  /** Half of the kills come at any time, half within a start. */
  async function killPoint(workers: readonly Worker[], round: number): Promise<void> {
    if (round % 2 === 0) {
      await sleep(30 + chance() * 400);
      return;
    }
    await sleep(chance() * 100);
    await new Promise<void>((resolve) => {
      for (const worker of workers) worker.onStart = resolve;
      setTimeout(resolve, 1000);
    });
    for (const worker of workers) worker.onStart = () => undefined;
    await sleep(chance() * 60);
  }

  async function checkRound(client: VireoClient, workers: readonly Worker[], round: string): Promise<void> {
    for (const worker of workers) {
      let now = await seen(client, worker.name);
      // Its owner is gone, so it is ended; that takes a moment.
      if (worker.kind === 'autodestroy' && now !== absent)
        await eventually(`${round}: the end of ${worker.name}`, async () => {
          now = await seen(client, worker.name);
          return now === absent;
        });
      const told = JSON.stringify({ known: worker.known, underWay: worker.underWay, now });
      expect(worker.accepts(now), `${round}, ${worker.name}: ${told}`).toBe(true);
      worker.known = now;
      worker.underWay = undefined;
    }
    const uuids = runningUuids(daemon.root);
    const running = workers.filter((worker) => worker.known.id !== null).length;
    expect(new Set(uuids).size, `${round}: a second QEMU`).toBe(uuids.length);
    expect(uuids.length, `${round}: QEMU processes`).toBe(running);
    const defined = workers.filter((worker) => worker.known.isDefined).length;
    await expectNoLitter(daemon.root, { running, defined });
    expect((await client.call('daemon.info')).counts.quarantined).toBe(0);
  }

  it(`loses nothing acknowledged in ${ROUNDS} kills (CRASH_SEED=${SEED})`, { timeout: 600_000 }, async () => {
    const kinds: readonly Kind[] = ['persistent', 'persistent', 'transient', 'autodestroy'];
    const workers = kinds.map((kind, index) => new Worker(`w${index}`, kind, random(SEED + index + 1)));
    const startedAt = performance.now();
    for (let round = 0; round < ROUNDS; round++) {
      const clients = await Promise.all(workers.map(() => daemon.connect()));
      const working = Promise.all(workers.map((worker, index) => worker.work(clients[index] as VireoClient)));
      await Promise.race([killPoint(workers, round), working]); // a call refused fails at once
      daemon = await daemon.crashAndRestart();
      await working;
      await using client = await daemon.connect();
      await checkRound(client, workers, `round ${round}`);
    }
    const counts: Record<string, number> = {};
    for (const { acknowledged } of workers)
      for (const [what, count] of Object.entries(acknowledged)) counts[what] = (counts[what] ?? 0) + count;
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    process.stderr.write(
      `crash test: ${ROUNDS} kills in ${seconds} s, ${total} operations acknowledged, seed ${SEED}: ${JSON.stringify(counts)}\n`,
    );
    expect(total).toBeGreaterThan(ROUNDS * 2);
    for (const what of ['define', 'set-title', 'start', 'start transient', 'start autodestroy', 'destroy'])
      expect(counts[what] ?? 0, what).toBeGreaterThan(0);
  });
});
