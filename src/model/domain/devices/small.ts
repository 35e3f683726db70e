/** Devices that take a few lines each: input, rng, balloon, watchdog, TPM, panic, vsock, IOMMU, NVRAM, leases. */
import {
  attr,
  child,
  childAttr,
  childText,
  type ElementCodec,
  flag,
  type Infer,
  object,
  required,
  text,
} from '../../../base/xml/codec.ts';
import { oneOf, onOff, path, str, uint, uuidText, yesNo } from '../../../base/xml/scalars.ts';
import { address, common, placed, unlistedAlias, virtioDriver } from './address.ts';
import { chardevParts } from './chardev.ts';
import { fixed, group, kinds, need } from './combinators.ts';

const virtioModels = oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional');
const virtioModel = attr('model', virtioModels);

/** `evdev` belongs to type passthrough, the others to type evdev. */
const inputSource = object({
  evdev: attr('evdev', path),
  dev: attr('dev', path),
  grab: attr('grab', oneOf('all')),
  grabToggle: attr(
    'grabToggle',
    oneOf('ctrl-ctrl', 'alt-alt', 'shift-shift', 'meta-meta', 'scrolllock', 'ctrl-scrolllock'),
  ),
  repeat: attr('repeat', onOff),
});

export const inputCodec = object({
  type: need('type', oneOf('tablet', 'mouse', 'keyboard', 'passthrough', 'evdev')),
  bus: attr('bus', oneOf('ps2', 'usb', 'xen', 'virtio')),
  model: virtioModel,
  driver: virtioDriver,
  source: child('source', inputSource),
  ...common,
});
export type Input = Infer<typeof inputCodec>;

const rngBackend = object({
  value: kinds('model', {
    /** A file of the host to read from; without it /dev/urandom. */
    random: group({ path: text(path) }),
    builtin: group({}),
    egd: group(chardevParts),
  }),
});
export type RngBackend = Infer<typeof rngBackend>['value'];
const rngBackendCodec: ElementCodec<RngBackend> = {
  read: (reader) => rngBackend.read(reader).value,
  write: (element, value, options) => rngBackend.write(element, { value }, options),
};

export const rngCodec = object({
  model: need('model', virtioModels),
  driver: virtioDriver,
  rate: child(
    'rate',
    object({
      bytes: need('bytes', uint({ min: 1, max: 0xffff_ffff })),
      periodMs: attr('period', uint({ min: 1, max: 0xffff_ffff })),
    }),
  ),
  backend: required(child('backend', rngBackendCodec), 'backend'),
  ...common,
});
export type Rng = Infer<typeof rngCodec>;

export const memballoonCodec = object({
  model: need('model', oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional', 'xen', 'none')),
  autodeflate: attr('autodeflate', onOff),
  freePageReporting: attr('freePageReporting', onOff),
  statsPeriodSeconds: childAttr('stats', 'period', uint({ min: 1, max: 0x7fff_ffff })),
  driver: virtioDriver,
  ...common,
});
export type Memballoon = Infer<typeof memballoonCodec>;

export const watchdogCodec = object({
  model: need('model', oneOf('i6300esb', 'ib700', 'diag288')),
  action: attr('action', oneOf('reset', 'shutdown', 'poweroff', 'pause', 'none', 'dump', 'inject-nmi')),
  ...common,
});
export type Watchdog = Infer<typeof watchdogCodec>;

const banks = object({
  sha1: flag('sha1'),
  sha256: flag('sha256'),
  sha384: flag('sha384'),
  sha512: flag('sha512'),
});

const tpmBackend = object({
  value: kinds('type', {
    passthrough: group({ device: childAttr('device', 'path', path) }),
    emulator: group({
      persistentState: attr('persistent_state', yesNo),
      /** The uuid of the secret that encrypts the state. */
      encryptionSecret: childAttr('encryption', 'secret', uuidText),
      activePcrBanks: child('active_pcr_banks', banks),
    }),
    external: group({
      source: required(
        child(
          'source',
          object({ kind: fixed('type', 'unix'), mode: fixed('mode', 'connect'), path: need('path', path) }),
        ),
        'source',
      ),
    }),
  }),
  version: attr('version', oneOf('1.2', '2.0')),
});
export type TpmBackend = Infer<typeof tpmBackend>['value'] & { version?: '1.2' | '2.0' };
const tpmBackendCodec: ElementCodec<TpmBackend> = {
  read(reader) {
    const { value, version } = tpmBackend.read(reader);
    return { ...value, ...(version !== undefined && { version }) };
  },
  write: (element, { version, ...value }, options) =>
    tpmBackend.write(element, { value, ...(version !== undefined && { version }) }, options),
};

export const tpmCodec = object({
  model: attr('model', oneOf('tpm-tis', 'tpm-crb', 'tpm-spapr', 'spapr-tpm-proxy')),
  backend: required(child('backend', tpmBackendCodec), 'backend'),
  ...placed,
});
export type Tpm = Infer<typeof tpmCodec>;

export const panicCodec = object({
  model: attr('model', oneOf('isa', 'pseries', 'hyperv', 's390')),
  ...placed,
});
export type Panic = Infer<typeof panicCodec>;

const wholeCid = object({
  auto: attr('auto', yesNo),
  address: attr('address', uint({ min: 3, max: 0xffff_ffff })),
});

/** The guest's address on the vsock bus. With `auto` it is chosen at start and lives as long as the domain runs. */
const cidCodec: typeof wholeCid = {
  read: wholeCid.read,
  write(element, value, options) {
    wholeCid.write(element, value.auto === true && options.inactive ? { auto: true } : value, options);
  },
};

export const vsockCodec = object({
  model: virtioModel,
  cid: child('cid', cidCodec),
  driver: virtioDriver,
  ...common,
});
export type Vsock = Infer<typeof vsockCodec>;

export const iommuCodec = object({
  model: need('model', oneOf('intel', 'smmuv3', 'virtio')),
  driver: child(
    'driver',
    object({
      intremap: attr('intremap', onOff),
      cachingMode: attr('caching_mode', onOff),
      eim: attr('eim', onOff),
      iotlb: attr('iotlb', onOff),
      awBits: attr('aw_bits', uint({ max: 255 })),
    }),
  ),
  ...common,
  alias: unlistedAlias,
});
export type Iommu = Infer<typeof iommuCodec>;

/** The NVRAM device of pseries machines. */
export const nvramCodec = object({ address });

/** A lock on shared storage, which a lock manager takes before the domain starts. */
export const leaseCodec = object({
  lockspace: childText('lockspace', str({ max: 1024 })),
  key: required(childText('key', str({ max: 1024 })), 'key'),
  target: required(
    child('target', object({ path: need('path', path), offsetBytes: attr('offset', uint()) })),
    'target',
  ),
});
export type Lease = Infer<typeof leaseCodec>;
