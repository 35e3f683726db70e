/**
 * What guests used, for graphs: running guests are measured every few seconds, and what came of it is written every five minutes,
 * when a guest ends, and when somebody asks. While none runs there is no timer.
 */
import { reasonOf } from '../../base/errors.ts';
import { processorTimeNs } from '../../base/ffi.ts';
import type { Logger } from '../../base/log.ts';
import type { Domain } from '../services/domain.ts';
import type { DomainService } from '../services/domain-service.ts';
import type { DomainStatistics } from '../services/domain-statistics.ts';
import type { EventBus } from '../services/events.ts';
import type { HistoryFiles } from './history-files.ts';
import type { Point, Span, Values } from './ring.ts';

/** So long samples wait in memory. */
const WRITE_MS = 5 * 60 * 1000;
/** What is asked of guests: one question to QEMU for each of the last two. */
const groups = new Set(['cpu', 'interface', 'balloon', 'block'] as const);

/** Counters that only grow; a rate is their difference. */
interface Counters {
  readonly atMs: number;
  readonly cpuNs: number | undefined;
  readonly readBytes: number | undefined;
  readonly writtenBytes: number | undefined;
  readonly requests: number | undefined;
  readonly receivedBytes: number | undefined;
  readonly sentBytes: number | undefined;
}

/** One guest that is measured. */
interface Watched {
  before: Counters | undefined;
  points: Point[];
  firstAtMs: number;
  /** When it was last looked at, measured or not, and the processor time of its QEMU until then. */
  lookedAtMs: number;
  cpuNs: number;
  /** Moments at which it was left alone, since it did next to nothing; they get the means of the next measurement. */
  skipped: number[];
}

/** Below this share of a processor a guest is left alone until it does more, or for as long as samples wait. */
const QUIET_SHARE = 0.02;

export class StatisticsHistory {
  private readonly domains: Pick<DomainService, 'list' | 'statistics'>;
  private readonly files: HistoryFiles;
  private readonly sampleMs: number;
  private readonly log: Logger;
  private readonly watched = new Map<string, Watched>();
  private timer: NodeJS.Timeout | undefined;
  private stopListening: () => void = () => undefined;

  constructor(options: {
    readonly domains: Pick<DomainService, 'list' | 'statistics'>;
    readonly files: HistoryFiles;
    /** Between two samples. */
    readonly sampleMs: number;
    readonly log: Logger;
  }) {
    this.domains = options.domains;
    this.files = options.files;
    this.sampleMs = options.sampleMs;
    this.log = options.log;
  }

  /** Measures from now on whatever runs. */
  start(events: EventBus): void {
    this.stopListening = events.subscribe((event) => {
      if (event.event === 'domain.started') this.wake();
      if (event.event === 'domain.stopped') void this.write(event.domain.uuid);
    });
    this.wake();
  }

  /** Measures no more, and writes what waits. */
  async stop(): Promise<void> {
    this.stopListening();
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const uuid of [...this.watched.keys()]) await this.write(uuid);
  }

  /** What a guest used in a span that ends now, the oldest first. @throws VirtError file.* */
  async read(domain: Domain, span: Span): Promise<Point[]> {
    if ((this.watched.get(domain.uuid)?.skipped.length ?? 0) > 0 && domain.live !== undefined)
      await this.measure([domain]);
    await this.write(domain.uuid);
    return this.files.read(domain.uuid, span, Date.now() / 1000);
  }

  /** @internal for tests: what the timer does. */
  async sample(): Promise<void> {
    await this.measure(this.domains.list({ active: true }).filter((domain) => !this.leavesAlone(domain)));
    for (const [uuid, { points, firstAtMs }] of this.watched)
      if (points.length > 0 && Date.now() - firstAtMs >= WRITE_MS) await this.write(uuid);
  }

  private async measure(domains: readonly Domain[]): Promise<void> {
    if (domains.length === 0) return;
    for (const one of await this.domains.statistics.sampleAll(domains, groups)) this.take(one);
  }

  /** Twenty idle guests would otherwise cost more than all the rest of an idle daemon. */
  private leavesAlone({ uuid, live }: Domain): boolean {
    const watched = this.watched.get(uuid);
    const cpuNs = live === undefined ? undefined : processorTimeNs(live.guest.record.pid);
    if (watched?.before === undefined || cpuNs === undefined) return false;
    const now = Date.now();
    const passedNs = (now - watched.lookedAtMs) * 1e6;
    const isQuiet = cpuNs - watched.cpuNs < QUIET_SHARE * passedNs;
    watched.cpuNs = cpuNs;
    if (!isQuiet || now - watched.before.atMs >= WRITE_MS) return false;
    watched.lookedAtMs = now;
    watched.skipped.push(now);
    return true;
  }

  private wake(): void {
    if (this.timer !== undefined) return;
    if (this.domains.list({ active: true }).length === 0) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.sample()
        .catch((error: unknown) => this.log.warn({ reason: reasonOf(error) }, 'guests could not be measured'))
        .finally(() => this.wake());
    }, this.sampleMs).unref();
  }

  private take(sample: DomainStatistics): void {
    const { uuid } = sample.domain;
    const now = countersOf(sample);
    const known = this.watched.get(uuid);
    const nothing = { before: undefined, points: [], firstAtMs: 0, lookedAtMs: 0, cpuNs: 0, skipped: [] };
    const watched: Watched = known ?? nothing;
    if (known === undefined) this.watched.set(uuid, watched);
    // After a pause of the host or the daemon a mean would say nothing of any moment.
    const isNext = now.atMs - watched.lookedAtMs < 3 * this.sampleMs;
    if (isNext && watched.before !== undefined) {
      const values = valuesOf(sample, watched.before, now);
      const moments = [...watched.skipped, now.atMs];
      if (watched.points.length === 0) watched.firstAtMs = moments[0] ?? now.atMs;
      for (const moment of moments) watched.points.push({ at: Math.floor(moment / 1000), values });
    }
    watched.before = now;
    watched.lookedAtMs = now.atMs;
    watched.cpuNs = now.cpuNs ?? 0;
    watched.skipped = [];
  }

  private async write(uuid: string): Promise<void> {
    const watched = this.watched.get(uuid);
    if (watched === undefined) return;
    const { points } = watched;
    watched.points = [];
    const isGone = this.domains.list({ active: true }).every((domain) => domain.uuid !== uuid);
    if (isGone) this.watched.delete(uuid);
    if (points.length === 0) return;
    try {
      await this.files.add(uuid, points);
    } catch (error) {
      this.log.warn({ uuid, reason: reasonOf(error) }, 'the history of a guest could not be written');
    }
  }
}

/** Sums over what was told; undefined where nothing was. */
function countersOf({ atMs, cpu, disks, interfaces }: DomainStatistics): Counters {
  const sum = <T>(all: readonly (T | undefined)[] | undefined, pick: (one: T) => number) => {
    const told = (all ?? []).filter((one) => one !== undefined);
    return told.length === 0 ? undefined : told.reduce((total, one) => total + pick(one), 0);
  };
  const blocks = disks?.map(({ counters }) => counters);
  const cards = interfaces?.map(({ counters }) => counters);
  return {
    atMs,
    cpuNs: cpu?.totalNs,
    readBytes: sum(blocks, (one) => one.readBytes),
    writtenBytes: sum(blocks, (one) => one.writeBytes),
    requests: sum(blocks, (one) => one.readRequests + one.writeRequests),
    receivedBytes: sum(cards, (one) => one.rxBytes),
    sentBytes: sum(cards, (one) => one.txBytes),
  };
}

/** In the order of `metrics`. */
function valuesOf({ balloon }: DomainStatistics, before: Counters, now: Counters): Values {
  const seconds = (now.atMs - before.atMs) / 1000;
  const rate = (what: Exclude<keyof Counters, 'atMs'>): number => {
    const difference = (now[what] ?? Number.NaN) - (before[what] ?? Number.NaN);
    // A disk or card that was plugged out takes its count along.
    return seconds > 0 && difference >= 0 ? difference / seconds : Number.NaN;
  };
  const bytes = (kib: number | undefined) => (kib === undefined ? Number.NaN : kib * 1024);
  return [
    rate('cpuNs') / 1e7,
    bytes(balloon?.residentKiB),
    bytes(balloon?.currentKiB),
    rate('readBytes'),
    rate('writtenBytes'),
    rate('requests'),
    rate('receivedBytes'),
    rate('sentBytes'),
  ];
}
