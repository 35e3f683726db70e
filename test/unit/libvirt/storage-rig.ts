/** A pool and a volume over libvirt's protocol, on the real storage service and real files. */
import { join } from 'node:path';
import { startRig } from './rig.ts';

export const MIB = 1024 * 1024;

/** A volume's document. */
export const volumeXml = (name: string, bytes = MIB, format = 'raw') =>
  `<volume><name>${name}</name><capacity>${bytes}</capacity><target><format type='${format}'/></target></volume>`;

/** A client, and the active pool `images` in a directory of its own. */
export async function rigWithPool() {
  const rig = await startRig({ readOnlySocket: true });
  const client = await rig.open();
  const path = join(rig.directory, 'images');
  const xml = `<pool type='dir'><name>images</name><target><path>${path}</path></target></pool>`;
  const { pool } = await client.call('storagePoolDefineXml', { xml, flags: 0 });
  await client.call('storagePoolCreate', { pool, flags: 1 });
  return { rig, client, pool, path, xml };
}

/** The same with the volume `disk`. */
export async function rigWithVolume(bytes = MIB) {
  const rig = await rigWithPool();
  const { vol } = await rig.client.call('storageVolCreateXml', {
    pool: rig.pool,
    xml: volumeXml('disk', bytes),
    flags: 0,
  });
  return { ...rig, vol, file: join(rig.path, 'disk') };
}
