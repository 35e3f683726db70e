/** A backup job's definition: libvirt's <domainbackup> document, each element declared once. */
import {
  attr,
  child,
  children,
  childText,
  type ElementCodec,
  type Field,
  type Infer,
  object,
  type ParseMode,
  type Reader,
  readDocument,
  wrapped,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { matching, oneOf, path, str, uint, yesNo } from '../../base/xml/scalars.ts';
import { formatXml } from '../../base/xml/tree.ts';
import { seclabels } from '../domain/devices/address.ts';
import { checked, need } from '../domain/devices/combinators.ts';
import { encryption, storageFormat } from '../domain/devices/source.ts';

/** Where an image is: `file` for a file, `dev` for a block device. */
const place = object({ file: attr('file', path), dev: attr('dev', path), seclabels, encryption });

/** One place of an image of a backup. */
export type BackupPlace = Infer<typeof place>;

const modes = ['push', 'pull'] as const;
export type BackupMode = (typeof modes)[number];

const driverCodec = object({ type: need('type', storageFormat) });

const diskShape = object({
  /** Target (`vda`). */
  name: need('name', matching(/^[^\p{Cc}]{1,1024}$/u, 'the target of a disk')),
  /** Left out: yes. */
  backup: attr('backup', yesNo),
  type: attr('type', oneOf('file', 'block')),
  backupMode: attr('backupmode', oneOf('full', 'incremental')),
  /** The checkpoint since which changes are taken. */
  incremental: attr('incremental', str({ max: 1024 })),
  /** Pull: what the disk and its bitmap are called on the server. */
  exportName: attr('exportname', str({ min: 1, max: 4096 })),
  exportBitmap: attr('exportbitmap', str({ min: 1, max: 1023 })),
  format: driverType(),
  /** Push: the image that is written. */
  target: child('target', place),
  /** Pull: the image that keeps what the guest writes over meanwhile. */
  scratch: child('scratch', place),
});

/** `<driver type='qcow2'/>` */
function driverType(): Field<Infer<typeof driverCodec>['type'] | undefined> {
  const inner = child('driver', driverCodec);
  return {
    read: (reader) => inner.read(reader)?.type,
    write: (element, type, options) =>
      inner.write(element, type === undefined ? undefined : { type }, options),
  };
}

const diskCodec = checked(diskShape, (disk, reader) => {
  const { type = 'file', target, scratch, backup, backupMode, incremental } = disk;
  for (const [name, found] of [
    ['target', target],
    ['scratch', scratch],
  ] as const)
    checkPlace(found, type, `${name}.`, reader);
  if (backup === false && (disk.type ?? target ?? scratch ?? disk.format) !== undefined)
    reader.problem(reader.at('backup'), 'does not go with a place for the backup');
  if (backupMode === 'full' && incremental !== undefined)
    reader.problem(reader.at('incremental'), "does not go with backupmode='full'");
});

function checkPlace(
  found: BackupPlace | undefined,
  type: 'file' | 'block',
  at: string,
  reader: Reader,
): void {
  if (found === undefined) return;
  const [has, hasNot] = type === 'file' ? (['file', 'dev'] as const) : (['dev', 'file'] as const);
  if (found[has] === undefined) reader.problem(reader.at(`${at}${has}`), 'is missing');
  if (found[hasNot] !== undefined)
    reader.problem(reader.at(`${at}${hasNot}`), `does not go with type='${type}'`);
}

/** One disk of a backup. */
export type BackupDisk = Infer<typeof diskCodec>;

const serverCodec = checked(
  object({
    transport: attr('transport', oneOf('tcp', 'unix')),
    tls: attr('tls', yesNo),
    name: attr('name', matching(/^[A-Za-z0-9.:_-]{1,253}$/, 'a host name or an address')),
    port: attr('port', uint({ max: 65_535 })),
    socket: attr('socket', path),
  }),
  ({ transport = 'tcp', name, port, socket }, reader) => {
    const only = (key: string, value: unknown, wanted: string) => {
      if (value !== undefined && transport !== wanted)
        reader.problem(reader.at(key), `needs transport='${wanted}'`);
    };
    only('name', name, 'tcp');
    only('port', port, 'tcp');
    only('socket', socket, 'unix');
    if (transport === 'tcp' && name === undefined) reader.problem(reader.at('name'), 'is missing');
    if (transport === 'unix' && socket === undefined) reader.problem(reader.at('socket'), 'is missing');
  },
);

/** Where a pull backup serves. */
export type BackupServer = Infer<typeof serverCodec>;

const shape = object({
  mode: attr('mode', oneOf(...modes)),
  /** The checkpoint since which changes are taken, of all disks that name none themselves. */
  incremental: childText('incremental', str({ max: 1024 })),
  server: child('server', serverCodec),
  disks: wrapped('disks', children('disk', diskCodec)),
});

const backupCodec: ElementCodec<BackupDef> = checked(shape, ({ mode = 'push', server, disks }, reader) => {
  if (mode === 'push' && server !== undefined) reader.problem(reader.at('server'), "needs mode='pull'");
  for (const [index, disk] of disks.entries()) {
    const at = (part: string) => reader.at(`disks.disk[${index}].${part}`);
    if (mode === 'push' && disk.scratch !== undefined) reader.problem(at('scratch'), "needs mode='pull'");
    if (mode === 'pull' && disk.target !== undefined) reader.problem(at('target'), "needs mode='push'");
    if (mode === 'push' && (disk.exportName ?? disk.exportBitmap) !== undefined)
      reader.problem(at('exportname'), "needs mode='pull'");
  }
});

/** A backup as its document tells it. */
export type BackupDef = Infer<typeof shape>;

/**
 * Reads a document.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`
 */
export function parseBackup(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: BackupDef; readonly dropped: readonly string[] } {
  const { value, dropped } = readDocument(backupCodec, parseXml(xml), 'domainbackup', {
    mode: options.mode,
    what: 'backup',
  });
  return { definition: value, dropped };
}

/** Prints a backup as libvirt does. */
export function formatBackup(definition: BackupDef): string {
  return formatXml(writeElement(backupCodec, 'domainbackup', definition));
}
