/** `volume`: the noun and its verbs. */
import type { AddCommand } from './command.ts';
import {
  addVolumeClone,
  addVolumeCreate,
  addVolumeCreateXml,
  addVolumeDelete,
  addVolumeResize,
  addVolumeSetFormat,
  addVolumeWipe,
} from './volume-change.ts';
import { addVolumeImport } from './volume-import.ts';
import { addVolumeFind, addVolumeList, addVolumeShow, addVolumeXml } from './volume-list.ts';
import { addVolumeDownload, addVolumeUpload } from './volume-transfer.ts';
import { addVolumeRestore, addVolumeTrash } from './volume-trash.ts';

const verbs: readonly AddCommand[] = [
  addVolumeList,
  addVolumeShow,
  addVolumeCreate,
  addVolumeClone,
  addVolumeImport,
  addVolumeUpload,
  addVolumeDownload,
  addVolumeResize,
  addVolumeDelete,
  addVolumeRestore,
  addVolumeTrash,
  addVolumeWipe,
  addVolumeFind,
  addVolumeXml,
  addVolumeCreateXml,
  addVolumeSetFormat,
];

export const addVolume: AddCommand = (parent, cli) => {
  const volume = parent
    .command('volume')
    .alias('vol')
    .summary('storage volumes: disks and install media')
    .description('Manages the volumes of storage pools.');
  for (const add of verbs) add(volume, cli);
};
