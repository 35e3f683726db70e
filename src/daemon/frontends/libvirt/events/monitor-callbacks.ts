/** Which events of QEMU's monitors one connection has asked for (libvirt's QEMU program). */
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { QemuMessage } from '../../../../libvirt/protocol/programs.ts';
import type { MonitorEvents } from '../../../services/monitor-events.ts';
import { wireDomainOf } from '../handlers/support.ts';

/** More than any client needs; each is looked at for every event. */
const MAX_CALLBACKS = 100;

/** Which events are meant; nothing given means all. */
export interface MonitorFilter {
  readonly uuid: string | undefined;
  readonly matches: (event: string) => boolean;
}

export class MonitorCallbacks {
  private readonly callbacks = new Map<number, () => void>();
  private readonly send: (body: QemuMessage<'domainMonitorEvent'>) => void;
  private nextId = 0;

  constructor(send: (body: QemuMessage<'domainMonitorEvent'>) => void) {
    this.send = send;
  }

  get count(): number {
    return this.callbacks.size;
  }

  /** Returns the callback's number. @throws LibvirtError when there are too many */
  register(events: MonitorEvents, { uuid, matches }: MonitorFilter): number {
    if (this.callbacks.size >= MAX_CALLBACKS)
      throw new LibvirtError(
        errorNumber.operationFailed,
        `more than ${MAX_CALLBACKS} monitor event callbacks`,
      );
    const callbackId = this.nextId++;
    const end = events.subscribe((domain, { name, seconds, data }) => {
      if ((uuid !== undefined && uuid !== domain.uuid) || !matches(name)) return;
      const whole = Math.floor(seconds);
      this.send({
        callbackId,
        dom: wireDomainOf(domain),
        event: name,
        seconds: whole,
        micros: Math.round((seconds - whole) * 1e6) % 1_000_000,
        details: Object.keys(data).length === 0 ? null : JSON.stringify(data),
      });
    });
    this.callbacks.set(callbackId, end);
    return callbackId;
  }

  /** @throws LibvirtError when this connection has no such callback */
  deregister(id: number): void {
    const end = this.callbacks.get(id);
    if (end === undefined)
      throw new LibvirtError(
        errorNumber.internalError,
        `qemu monitor event callback ${id} not registered`,
        errorDomain.rpc,
      );
    this.callbacks.delete(id);
    end();
  }

  clear(): void {
    for (const end of this.callbacks.values()) end();
    this.callbacks.clear();
  }
}
