/** The definition of a guest as it runs, kept up to date by what QEMU says of it. */
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestEvent } from '../driver.ts';
import { withRtcAdjustment } from './guest-clock.ts';
import { diskOfNode, withChannelStates, withMemorySize } from './live-definition.ts';

export class RunningDefinition {
  private definition: DomainDef;
  /** Seconds that the guest's clock was ahead when it was started. */
  private readonly clockAtStart: number;
  /** Aliases of the channels that the guest has open. */
  private readonly openChannels = new Set<string>();

  constructor(definition: DomainDef, clockAtStart: number) {
    this.clockAtStart = clockAtStart;
    this.definition = withChannelStates(definition, this.openChannels);
  }

  get current(): DomainDef {
    return this.definition;
  }

  /** A device came or went; what the guest does with its channels stays. */
  replace(definition: DomainDef): void {
    this.definition = withChannelStates(definition, this.openChannels);
  }

  isChannelOpen(alias: string): boolean {
    return this.openChannels.has(alias);
  }

  /** Notes that the guest opened or closed one of its channels. */
  setChannelOpen(alias: string, isOpen: boolean): void {
    if (isOpen === this.openChannels.has(alias)) return;
    if (isOpen) this.openChannels.add(alias);
    else this.openChannels.delete(alias);
    this.definition = withChannelStates(this.definition, this.openChannels);
  }

  /** Notes how many seconds the guest's clock is ahead. */
  setClock(aheadSeconds: number): void {
    this.definition = withRtcAdjustment(this.definition, aheadSeconds);
  }

  /** Notes what an event tells of devices, and gives it back with what only the definition knows. */
  take(event: GuestEvent): GuestEvent {
    if (event.kind === 'rtc-change') return this.withClock(event);
    if (event.kind === 'memory-device-size') this.definition = withMemorySize(this.definition, event);
    if (event.kind === 'block-threshold') return { ...event, ...diskOfNode(this.definition, event.device) };
    if (event.kind !== 'io-error') return event;
    const { device = event.device, path } = diskOfNode(this.definition, event.device);
    return { ...event, device, ...(path !== undefined && { path }) };
  }

  /**
   * QEMU counts from the clock it was started with, and sums up all changes since (qapi/misc-target.json, RTC_CHANGE);
   * what the definition says of that start comes on top.
   */
  private withClock(event: Extract<GuestEvent, { kind: 'rtc-change' }>): GuestEvent {
    const offsetSeconds = this.clockAtStart + event.offsetSeconds;
    this.setClock(offsetSeconds);
    return { ...event, offsetSeconds };
  }
}
