/** A node device service over recorded or real files, whose uevents a test makes up. */

import { join } from 'node:path';
import { silentLogger } from '../../src/base/log.ts';
import type { Uevent } from '../../src/base/uevents.ts';
import type { EventBus } from '../../src/daemon/services/events.ts';
import { MediatedDevices } from '../../src/daemon/services/mediated-devices.ts';
import { NodeDeviceService } from '../../src/daemon/services/node-device-service.ts';
import { MdevDefinitions } from '../../src/daemon/state/mdev-definitions.ts';
import { listNodeDevices } from '../../src/drivers/host-devices/node-devices/list.ts';
import { type HostFiles, hostFiles } from '../../src/kvm/host-files.ts';
import { type HostWriter, hostWriter } from '../../src/kvm/host-writer.ts';

export function makeNodeDevices(
  events: EventBus,
  options: {
    readonly files?: HostFiles;
    readonly mode?: 'system' | 'session';
    readonly moved?: string[];
    /** Where mediated devices are stored; none are when left out. */
    readonly directory?: string;
    /** What is written to sysfs. */
    readonly write?: HostWriter;
    readonly isGroupBusy?: (group: number) => boolean;
    /** Taken from the front at each look; undefined stands for a socket that overflowed. */
    readonly uevents?: (readonly Uevent[] | undefined)[];
  } = {},
): NodeDeviceService {
  const { files = hostFiles(), mode = 'system', moved = [], uevents = [] } = options;
  const {
    directory = '/nonexistent',
    write = hostWriter('/nonexistent'),
    isGroupBusy = () => false,
  } = options;
  const host = { files, hostName: 'here' };
  const mediated = new MediatedDevices({
    mode,
    host: { files, write, isGroupBusy },
    stored: new MdevDefinitions({ directory: join(directory, 'mdevctl.d'), log: silentLogger }),
    present: () => listNodeDevices(host),
    autostartMarker: join(directory, 'mediated-devices-started'),
    log: silentLogger,
  });
  const move = (verb: string) => async (address: string) => {
    moved.push(`${verb} ${address}`);
  };
  return new NodeDeviceService({
    host,
    mediated,
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
