/** QEMU's NBD server for a pull backup: its address, its certificates, and what it serves. */
import { randomBytes } from 'node:crypto';
import { chown, copyFile, mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileError } from '../../../base/errors.ts';
import { close } from '../../../base/ffi.ts';
import type { Undo } from '../../../base/undo.ts';
import type { BackupRequest } from '../../driver/backups.ts';
import { listenAt } from '../descriptors.ts';
import type { QmpClient } from '../qmp/client.ts';
import { ignoringRefusal } from '../qmp/refusal.ts';
import { backupJob, backupNode } from './images.ts';

type Server = NonNullable<BackupRequest['server']>;

/** QEMU's name of the certificates. */
const TLS = 'vireo-backup-tls';
/** docs/system/tls.rst: the names that QEMU reads. */
const certificateFiles = ['ca-cert.pem', 'server-cert.pem', 'server-key.pem'];

/** Where copies of the certificates lie that the guest's user may read. */
export const tlsDirectoryOf = (guestDirectory: string): string => join(guestDirectory, 'backup-tls');

/** @throws VirtError file.*, qmp.* */
export async function startServer(
  qmp: QmpClient,
  server: Server,
  facts: { readonly tlsDirectory: string; readonly uid: number | undefined; readonly undo: Undo },
): Promise<void> {
  const { tlsDirectory, uid, undo } = facts;
  if (server.certificates !== undefined) {
    undo.add('remove the certificates', () => rm(tlsDirectory, { recursive: true, force: true }));
    await copyCertificates(server.certificates, tlsDirectory, uid);
    // By a name in QEMU's own directory, where it runs: it may not be able to walk the whole path.
    await qmp.execute('object-add', {
      ...{ 'qom-type': 'tls-creds-x509', id: TLS, dir: basename(tlsDirectory) },
      ...{ endpoint: 'server', 'verify-peer': true },
    });
    undo.add('forget the certificates', () => ignoringRefusal(qmp.execute('object-del', { id: TLS })));
  }
  const tls = server.certificates === undefined ? {} : { 'tls-creds': TLS };
  const addr = await addressFor(qmp, server, undo);
  await qmp.executeRaw('nbd-server-start', { addr, ...tls });
  undo.add('stop the server', () => stopServer(qmp));
}

/** A unix socket is ours, and QEMU gets it listening: it may not make one where clients look. */
async function addressFor(qmp: QmpClient, server: Server, undo: Undo) {
  if (server.transport === 'tcp')
    return { type: 'inet', data: { host: server.host, port: String(server.port) } };
  const fd = await listenAt(server.socket, { onSocket: () => undefined });
  undo.add('remove the socket', () => rm(server.socket, { force: true }));
  const name = `vireo-backup-${randomBytes(4).toString('hex')}`;
  try {
    await qmp.passDescriptor(name, fd);
  } finally {
    close(fd);
  }
  return { type: 'fd', data: { str: name } };
}

async function copyCertificates(from: string, to: string, uid: number | undefined): Promise<void> {
  const wanted = 'read the certificates for backups';
  await rm(to, { recursive: true, force: true });
  await mkdir(to, { mode: 0o700 });
  for (const name of certificateFiles) {
    const copy = join(to, name);
    await copyFile(join(from, name), copy).catch((error: unknown) => {
      throw fileError(error, wanted, join(from, name));
    });
    if (uid !== undefined) await chown(copy, uid, uid);
  }
  if (uid !== undefined) await chown(to, uid, uid);
}

/** Serves a disk read-only under a name, with the bitmap of what has changed. @throws VirtError qmp.* */
export async function exportDisk(
  qmp: QmpClient,
  {
    disk,
    name,
    bitmap,
  }: { readonly disk: string; readonly name: string; readonly bitmap: string | undefined },
): Promise<void> {
  await qmp.executeRaw('block-export-add', {
    ...{ type: 'nbd', id: backupJob(disk), 'node-name': backupNode(disk), name, writable: false },
    ...(bitmap !== undefined && { bitmaps: [bitmap] }),
  });
}

/** Clients are cut off; what is not there is passed over. @throws VirtError qmp.closed, qmp.timeout */
export async function stopServer(qmp: QmpClient): Promise<void> {
  await ignoringRefusal(qmp.executeRaw('nbd-server-stop'));
  await ignoringRefusal(qmp.execute('object-del', { id: TLS }));
}
