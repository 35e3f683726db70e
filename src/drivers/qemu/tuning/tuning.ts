/** The driver's LiveTuning over one guest's monitor. */
import { VirtError } from '../../../base/errors.ts';
import { toTheEnd } from '../../../base/late-answers.ts';
import type { IoTune } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { DirtyRateMode } from '../../../model/domain/statistics-groups.ts';
import type {
  AddressKind,
  CpuPlace,
  GuestCpu,
  IothreadSettings,
  LiveTuning,
  MonitorGroup,
  MonitorSample,
} from '../../live-tuning.ts';
import { throttleGroupId } from '../argv/throttle.ts';
import { storageNode } from '../block-jobs/nodes.ts';
import type { QmpClient } from '../qmp/client.ts';
import { cpuPlaces, guestCpus, plugCpus, refuseEmulatedUnplug, unplugCpus } from './cpus.ts';
import { diskErrors, resizeDisk, setDiskLimits, setThrottleGroup } from './disks.ts';
import { balloonPath, peekMemory } from './memory.ts';
import { takeSample, within } from './sample.ts';

/** A change of a disk's size may have to write to the image. */
const RESIZE_MS = 60_000;

interface TuningParts {
  /** @throws VirtError qmp.closed */
  readonly qmp: () => QmpClient;
  readonly definition: () => DomainDef;
  /** The guest's own directory, QEMU's working directory. */
  readonly directory: string;
}

export class QemuTuning implements LiveTuning {
  private readonly parts: TuningParts;
  /** Samples that QEMU has not answered yet, by what was asked. */
  private readonly asked = new Map<
    string,
    { readonly sinceMs: number; readonly answer: Promise<MonitorSample> }
  >();

  constructor(parts: TuningParts) {
    this.parts = parts;
  }

  sample(groups: readonly MonitorGroup[], limitMs: number): Promise<MonitorSample> {
    if (groups.length === 0) return Promise.resolve({});
    const key = groups.toSorted().join(' ');
    const waiting = this.asked.get(key) ?? this.longSilent(limitMs);
    if (waiting === undefined) return within(limitMs, this.ask(key, groups));
    const restMs = waiting.sinceMs + limitMs - performance.now();
    return within(Math.max(1, restMs), waiting.answer, limitMs);
  }

  /** Another sample whose time is up already: QEMU would not answer this one either. */
  private longSilent(limitMs: number) {
    for (const one of this.asked.values()) if (performance.now() - one.sinceMs > limitMs) return one;
    return undefined;
  }

  private ask(key: string, groups: readonly MonitorGroup[]): Promise<MonitorSample> {
    const answer = Promise.resolve()
      .then(() => takeSample(this.parts.qmp(), this.parts.definition(), groups))
      .finally(() => this.asked.delete(key));
    answer.catch(() => undefined); // Whoever waits for it hears of it.
    this.asked.set(key, { sinceMs: performance.now(), answer });
    return answer;
  }

  async setBalloon(bytes: number): Promise<void> {
    balloonPath(this.parts.definition(), 'change the memory');
    await this.parts.qmp().execute('balloon', { value: bytes });
  }

  async setBalloonPeriod(seconds: number): Promise<void> {
    const path = balloonPath(this.parts.definition(), 'measure the memory');
    await this.parts
      .qmp()
      .execute('qom-set', { path, property: 'guest-stats-polling-interval', value: seconds });
  }

  cpus(): Promise<GuestCpu[]> {
    return guestCpus(this.parts.qmp());
  }

  cpuPlaces(): Promise<CpuPlace[]> {
    return cpuPlaces(this.parts.qmp());
  }

  plugCpus(firsts: readonly number[]): Promise<void> {
    return plugCpus(this.parts.qmp(), firsts);
  }

  unplugCpus(firsts: readonly number[]): Promise<void> {
    const qmp = this.parts.qmp();
    if (this.parts.definition().type === 'qemu') refuseEmulatedUnplug(qmp);
    return unplugCpus(qmp, firsts);
  }

  async addIothread(id: number): Promise<void> {
    await this.parts.qmp().execute('object-add', { 'qom-type': 'iothread', id: `iothread${id}` });
  }

  async removeIothread(id: number): Promise<void> {
    await this.parts.qmp().execute('object-del', { id: `iothread${id}` });
  }

  async setIothread(id: number, settings: IothreadSettings): Promise<void> {
    const properties = {
      'poll-max-ns': settings.pollMaxNs,
      'poll-grow': settings.pollGrow,
      'poll-shrink': settings.pollShrink,
      'thread-pool-min': settings.threadPoolMin,
      'thread-pool-max': settings.threadPoolMax,
    };
    await toTheEnd(async () => {
      for (const [property, value] of Object.entries(properties))
        if (value !== undefined)
          await this.parts.qmp().execute('qom-set', { path: `/objects/iothread${id}`, property, value });
    });
  }

  resizeDisk(alias: string, bytes: number): Promise<void> {
    return within(RESIZE_MS, resizeDisk(this.parts.qmp(), alias, bytes));
  }

  setDiskLimits(alias: string, limits: IoTune): Promise<void> {
    return setDiskLimits(this.parts.qmp(), alias, limits);
  }

  setThrottleGroup(name: string, limits: IoTune, isThere: boolean): Promise<void> {
    return setThrottleGroup(this.parts.qmp(), name, { limits, isThere });
  }

  async removeThrottleGroup(name: string): Promise<void> {
    await this.parts.qmp().execute('object-del', { id: throttleGroupId(name) });
  }

  diskErrors() {
    return diskErrors(this.parts.qmp());
  }

  /** The threshold is of the file's node: an image's allocation grows there. */
  async setWriteThreshold(image: number, bytes: number): Promise<void> {
    const node = storageNode(image);
    await this.parts
      .qmp()
      .execute('block-set-write-threshold', { 'node-name': node, 'write-threshold': bytes });
  }

  peekMemory(kind: AddressKind, address: number, length: number): Promise<Buffer> {
    return peekMemory(this.parts.qmp(), this.parts.directory, { kind, address, length });
  }

  async startDirtyRate(seconds: number, mode: DirtyRateMode = 'page-sampling'): Promise<void> {
    if (!Number.isInteger(seconds) || seconds < 1 || seconds > 60)
      throw new VirtError('request.invalid', {
        wanted: 'measure how fast the guest writes to its memory',
        reason: 'a measurement takes 1 to 60 seconds',
      });
    // Without KVM, QEMU 7.2 ends with the guest when it is asked for these.
    if (mode !== 'page-sampling' && this.parts.definition().type !== 'kvm')
      throw new VirtError('request.unsupported', {
        wanted: 'measure how fast the guest writes to its memory',
        reason: `the mode '${mode}' needs KVM, and this guest is emulated`,
        hint: "use the mode 'page-sampling'",
      });
    await this.parts.qmp().execute('calc-dirty-rate', { 'calc-time': seconds, mode });
  }

  async wakeUp(): Promise<void> {
    await this.parts.qmp().execute('system_wakeup');
  }
}
