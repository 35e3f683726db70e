/** A node device service over recorded or real files, whose uevents a test makes up. */
import { silentLogger } from '../../src/base/log.ts';
import type { Uevent } from '../../src/base/uevents.ts';
import type { EventBus } from '../../src/daemon/services/events.ts';
import { NodeDeviceService } from '../../src/daemon/services/node-device-service.ts';
import { type HostFiles, hostFiles } from '../../src/kvm/host-files.ts';

export function makeNodeDevices(
  events: EventBus,
  options: {
    readonly files?: HostFiles;
    readonly mode?: 'system' | 'session';
    readonly moved?: string[];
    /** Taken from the front at each look; undefined stands for a socket that overflowed. */
    readonly uevents?: (readonly Uevent[] | undefined)[];
  } = {},
): NodeDeviceService {
  const { files = hostFiles(), mode = 'system', moved = [], uevents = [] } = options;
  const move = (verb: string) => async (address: string) => {
    moved.push(`${verb} ${address}`);
  };
  return new NodeDeviceService({
    host: { files, hostName: 'here' },
    devices: { detach: move('detach'), reattach: move('reattach'), reset: move('reset') },
    mode,
    events,
    log: silentLogger,
    uevents: () => ({
      take() {
        if (uevents.length === 0) return [];
        const next = uevents.shift();
        return next && [...next];
      },
      close: () => undefined,
    }),
    lookEveryMs: 5,
  });
}
