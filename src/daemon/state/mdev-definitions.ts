/**
 * Stored mediated devices, where and as mdevctl keeps them (mdevctl(8)): a directory for each parent, in it a file of JSON
 * for each uuid. So what one of us defines, the other knows, and mdevctl's udev rule starts it with its parent.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, removeDurable, temporarySuffix, writeDurable } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { attributeRule, type MdevAttribute } from '../../model/node-device/mdev-definition.ts';

export interface StoredMdev {
  readonly uuid: string;
  /** The parent's name on its bus: `0000:00:02.0`. */
  readonly parentAddress: string;
  readonly typeId: string;
  readonly attributes: readonly MdevAttribute[];
  readonly autostart: boolean;
}

const uuidRule = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const parentRule = /^(?!\.)[\w.:-]{1,128}$/;

const fileSchema = z.object({
  mdev_type: z.string().regex(/^(?!\.)[\w.:-]{1,128}$/),
  start: z.enum(['auto', 'manual']).default('manual'),
  /** Each an object of one attribute, in their order. */
  attrs: z
    .array(z.record(z.string().regex(attributeRule), z.string()))
    .max(1024)
    .default([]),
});

export class MdevDefinitions {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** All that are stored; a file that is none of them is named in the log and left alone. */
  list(): StoredMdev[] {
    return namesIn(this.directory)
      .filter((name) => parentRule.test(name))
      .flatMap((parentAddress) =>
        namesIn(join(this.directory, parentAddress))
          .filter((name) => uuidRule.test(name))
          .flatMap((uuid) => this.read(parentAddress, uuid)),
      );
  }

  /** Stores it for good, in place of the one of that uuid and parent. @throws VirtError file.* */
  async save({ uuid, parentAddress, typeId, attributes, autostart }: StoredMdev): Promise<void> {
    const content: z.input<typeof fileSchema> = {
      mdev_type: typeId,
      start: autostart ? 'auto' : 'manual',
      attrs: attributes.map(({ name, value }) => ({ [name]: value })),
    };
    const directory = join(this.directory, parentAddress);
    await ensureDirectory(this.directory, 0o755);
    await ensureDirectory(directory, 0o755);
    await writeDurable(join(directory, uuid), `${JSON.stringify(content, null, 2)}\n`, { mode: 0o644 });
  }

  async remove({ uuid, parentAddress }: StoredMdev): Promise<void> {
    await removeDurable(join(this.directory, parentAddress, uuid));
  }

  private read(parentAddress: string, uuid: string): StoredMdev[] {
    const path = join(this.directory, parentAddress, uuid);
    try {
      const { mdev_type, start, attrs } = fileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
      const attributes = attrs.flatMap((one) =>
        Object.entries(one).map(([name, value]) => ({ name, value })),
      );
      return [{ uuid, parentAddress, typeId: mdev_type, attributes, autostart: start === 'auto' }];
    } catch (error) {
      this.log.warn({ file: path, reason: reasonOf(error) }, 'a stored mediated device cannot be read');
      return [];
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => !name.endsWith(temporarySuffix))
      .sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
