/** `<devices>`: every device family, in the order in which libvirt prints them. */
import { child, children, childText, type Field, type Infer, object } from '../../../base/xml/codec.ts';
import { path } from '../../../base/xml/scalars.ts';
import {
  channelCodec,
  consoleCodec,
  parallelCodec,
  redirdevCodec,
  serialCodec,
  smartcardCodec,
} from './chardev.ts';
import { controllerCodec } from './controller.ts';
import { diskCodec } from './disk.ts';
import { filesystemCodec } from './filesystem.ts';
import { graphicsCodec, videoCodec } from './graphics.ts';
import { hostdevCodec, hubCodec, redirfilterCodec } from './hostdev.ts';
import { interfaceCodec } from './interface.ts';
import { memoryCodec, shmemCodec } from './memory-devices.ts';
import {
  inputCodec,
  iommuCodec,
  leaseCodec,
  memballoonCodec,
  nvramCodec,
  panicCodec,
  rngCodec,
  tpmCodec,
  vsockCodec,
  watchdogCodec,
} from './small.ts';
import { audioCodec, soundCodec } from './sound.ts';

/** A list that is absent when empty; for devices that hardly any domain has. */
function optional<T>(field: Field<T[]>): Field<T[] | undefined> {
  return {
    read(reader) {
      const found = field.read(reader);
      return found.length > 0 ? found : undefined;
    },
    write: (element, value, options) => field.write(element, value ?? [], options),
  };
}

/**
 * The devices of a domain. What XML spreads over a device's `type` attribute and its `<source>` is one union
 * `source` in the model: `disk.source.type`, `interface.source.type`, `serial.source.type`.
 */
export const devicesCodec = object({
  emulator: childText('emulator', path),
  disks: children('disk', diskCodec),
  controllers: children('controller', controllerCodec),
  leases: optional(children('lease', leaseCodec)),
  filesystems: children('filesystem', filesystemCodec),
  interfaces: children('interface', interfaceCodec),
  smartcards: children('smartcard', smartcardCodec),
  serials: children('serial', serialCodec),
  parallels: children('parallel', parallelCodec),
  consoles: children('console', consoleCodec),
  channels: children('channel', channelCodec),
  inputs: children('input', inputCodec),
  tpms: children('tpm', tpmCodec),
  graphics: children('graphics', graphicsCodec),
  sounds: children('sound', soundCodec),
  audios: children('audio', audioCodec),
  videos: children('video', videoCodec),
  hostdevs: children('hostdev', hostdevCodec),
  redirdevs: children('redirdev', redirdevCodec),
  redirfilter: child('redirfilter', redirfilterCodec),
  hubs: children('hub', hubCodec),
  watchdogs: children('watchdog', watchdogCodec),
  memballoon: child('memballoon', memballoonCodec),
  rngs: children('rng', rngCodec),
  nvram: child('nvram', nvramCodec),
  panics: children('panic', panicCodec),
  shmems: children('shmem', shmemCodec),
  memories: children('memory', memoryCodec),
  iommu: child('iommu', iommuCodec),
  vsock: child('vsock', vsockCodec),
});
export type Devices = Infer<typeof devicesCodec>;
