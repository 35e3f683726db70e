/** `<filesystem>`: host directories shared with the guest, by 9p or virtiofs. */
import {
  attr,
  child,
  childAttr,
  type Field,
  flag,
  type Infer,
  object,
  required,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, onOff, path, str, uint } from '../../../base/xml/scalars.ts';
import { boot, common, virtioOptions } from './address.ts';
import { bytesRule, checked, kinds, need, size, within } from './combinators.ts';
import { storageFormat } from './source.ts';

const mode = matching(/^(0[0-7]{3}|[0-7]{1,3})$/, 'an octal file mode');

const sourceKinds = {
  /** A directory, or the socket of a virtiofsd that somebody else runs. */
  mount: within('source', { dir: attr('dir', path), socket: attr('socket', path) }),
  file: within('source', { file: need('file', path) }),
  block: within('source', { dev: need('dev', path) }),
  bind: within('source', { dir: need('dir', path) }),
  template: within('source', { name: need('name', str({ max: 256 })) }),
  ram: within('source', { usage: need('usage', uint()), units: attr('units', str({ max: 8 })) }),
};
const source = kinds('type', sourceKinds, 'mount');
export type FilesystemSource = typeof source extends Field<infer T> ? T : never;

const driverCodec = object({
  type: attr('type', oneOf('path', 'handle', 'loop', 'nbd', 'ploop', 'virtiofs')),
  format: attr('format', storageFormat),
  wrpolicy: attr('wrpolicy', oneOf('immediate')),
  queue: attr('queue', uint({ max: 65_535 })),
  ...virtioOptions,
});

const binaryCodec = object({
  path: attr('path', path),
  xattr: attr('xattr', onOff),
  cache: childAttr('cache', 'mode', oneOf('none', 'always')),
  sandbox: childAttr('sandbox', 'mode', oneOf('namespace', 'chroot')),
  lock: child('lock', object({ posix: attr('posix', onOff), flock: attr('flock', onOff) })),
  threadPoolSize: childAttr('thread_pool', 'size', uint({ max: 65_535 })),
});

export const filesystemCodec = checked(
  object({
    driver: child('driver', driverCodec),
    binary: child('binary', binaryCodec),
    source,
    accessmode: attr('accessmode', oneOf('passthrough', 'mapped', 'squash')),
    model: attr('model', oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional')),
    multidevs: attr('multidevs', oneOf('default', 'remap', 'forbid', 'warn')),
    fmode: attr('fmode', mode),
    dmode: attr('dmode', mode),
    /** The mount tag that the guest uses. */
    target: required(childAttr('target', 'dir', str({ min: 1, max: 256 })), 'target'),
    readonly: flag('readonly'),
    spaceHardLimitBytes: child('space_hard_limit', size(bytesRule)),
    spaceSoftLimitBytes: child('space_soft_limit', size(bytesRule)),
    boot,
    ...common,
  }),
  (filesystem, reader) => {
    if (filesystem.binary !== undefined && filesystem.source.type !== 'mount')
      reader.problem(reader.at('binary'), `does not go with type '${filesystem.source.type}'`);
    if (filesystem.driver?.queue !== undefined && filesystem.driver.type !== 'virtiofs')
      reader.problem(reader.at('driver.queue'), 'needs the virtiofs driver');
  },
);
export type Filesystem = Infer<typeof filesystemCodec>;
