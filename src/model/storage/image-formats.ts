/** Words for formats of images: what headers say, which are QEMU's words, and what definitions say. */
import type { BackingStore } from '../domain/devices/disk.ts';

type ImageFormat = BackingStore['format']['type'];

/** Names of QEMU's block drivers for formats of images. A map: what headers say comes from strangers. */
const byDriver: ReadonlyMap<string, ImageFormat> = new Map([
  ['raw', 'raw'],
  ['qcow2', 'qcow2'],
  ['qcow', 'qcow'],
  ['qed', 'qed'],
  ['vmdk', 'vmdk'],
  ['vdi', 'vdi'],
  ['vpc', 'vpc'],
  ['vhdx', 'vhd'],
]);

/** Our format by QEMU's word for it; undefined for any other word. */
export function formatOfDriver(word: string): ImageFormat | undefined {
  return byDriver.get(word);
}
