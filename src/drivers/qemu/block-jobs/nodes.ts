/** Block nodes of images by their number, the descriptors behind them, and taking both away. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileError, isVirtError, reasonOf, VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { QmpClient } from '../qmp/client.ts';
import { ignoringRefusal } from '../qmp/refusal.ts';

/** The node of an image as the guest's data, and the lowest one, where its bytes are (argv/blockdev.ts). */
export const formatNode = (number: number): string => `libvirt-${number}-format`;
export const storageNode = (number: number): string => `libvirt-${number}-storage`;

/** Nodes and secrets that an image can have, users first. */
const nodesOf = (number: number): string[] => [
  formatNode(number),
  `libvirt-${number}-slice-sto`,
  storageNode(number),
];
const secretsOf = (number: number): string[] => [
  `${formatNode(number)}-luks-secret0`,
  `${storageNode(number)}-auth-secret0`,
];

/** Whose descriptors those are that let QEMU write to an image for the time of a job. */
const GRANT = 'vireo block job';

/** The set of descriptors behind an image; undefined for one that QEMU did not get by descriptor. */
async function setOf(qmp: QmpClient, number: number): Promise<number | undefined> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true });
  const file = nodes.find((node) => node['node-name'] === storageNode(number))?.file ?? '';
  const set = /^\/dev\/fdset\/(\d+)$/.exec(file)?.[1];
  return set === undefined ? undefined : Number(set);
}

/** True when a disk of the guest is on that image right now; filters on top of it show the file of their image. */
export async function isInUse(qmp: QmpClient, number: number): Promise<boolean> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true });
  const file = nodes.find((node) => node['node-name'] === formatNode(number))?.file;
  if (file === undefined) return false;
  return (await qmp.execute('query-block')).some(({ inserted }) => inserted?.file === file);
}

/**
 * Lets QEMU write to an image that it may only read, until the grant is taken back. Undefined for images that it opens
 * by itself (network), where there is nothing to grant.
 * @throws VirtError file.*
 */
export async function grantWriting(
  qmp: QmpClient,
  number: number,
  path: string | undefined,
  { direct }: { readonly direct: boolean },
): Promise<{ set: number; fd: number } | undefined> {
  const set = path === undefined ? undefined : await setOf(qmp, number);
  if (path === undefined || set === undefined) return undefined;
  const flags =
    constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY | (direct ? constants.O_DIRECT : 0);
  const handle = await open(path, flags).catch((error: unknown) => {
    throw fileError(error, 'write to an image', path);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile() && !stat.isBlockDevice())
      throw new VirtError('definition.unsupported', {
        wanted: 'write to an image',
        reason: `${path} is neither a regular file nor a block device`,
      });
    return await qmp.addDescriptor(handle.fd, { 'fdset-id': set, opaque: GRANT });
  } finally {
    await handle.close();
  }
}

interface Grant {
  readonly set: number;
  readonly fd: number;
}

/** What was taken back: QEMU closes it only while the guest runs (monitor/fds.c, 7.2), and until then its locks stay on the image. */
const takenBack = new WeakMap<QmpClient, Grant[]>();

/** Has QEMU close what was taken back while the guest stood still, if the guest runs now. */
export async function closeTakenBack(qmp: QmpClient): Promise<void> {
  if (!takenBack.has(qmp)) return;
  const sets = await qmp.execute('query-fdsets');
  const left = (takenBack.get(qmp) ?? []).filter(({ set, fd }) =>
    sets.some((one) => one['fdset-id'] === set && one.fds.some((known) => known.fd === fd)),
  );
  takenBack.delete(qmp);
  await revokeWriting(qmp, left);
}

/** A job that met the locks of an earlier one, whose descriptors QEMU has not closed, is told so; other errors stay. */
export function ofTakenBack(qmp: QmpClient, error: unknown): unknown {
  if (!takenBack.has(qmp) || !isVirtError(error, 'qmp.failed') || !error.reason.endsWith('lock'))
    return error;
  return new VirtError('domain.state', {
    wanted: 'begin a block job',
    reason: 'QEMU lets go of the images of an earlier block job only while the guest runs',
    hint: "let the guest go on with 'vireo resume', and try again",
    cause: error,
  });
}

/** Takes descriptors back that only the job needed. What QEMU has open stays open until it lets go by itself. */
export async function revokeWriting(qmp: QmpClient, grants: readonly Grant[]): Promise<void> {
  if (grants.length > 0) takenBack.set(qmp, [...(takenBack.get(qmp) ?? []), ...grants]);
  for (const { set, fd } of grants) await ignoringRefusal(qmp.execute('remove-fd', { 'fdset-id': set, fd }));
}

/** Takes the nodes, secrets and descriptors of images away, the uppermost image first. What is not there is passed over. */
export async function removeImages(qmp: QmpClient, numbers: readonly number[], log: Logger): Promise<void> {
  if (numbers.length === 0) return;
  const names = new Set<string | undefined>(numbers.flatMap(nodesOf));
  const present = (await qmp.execute('query-named-block-nodes', { flat: true })).filter((node) =>
    names.has(node['node-name']),
  );
  const known = new Set(present.map((node) => node['node-name']));
  for (const name of numbers.flatMap(nodesOf))
    if (known.has(name))
      await qmp.execute('blockdev-del', { 'node-name': name }).catch((error: unknown) => {
        if (!isVirtError(error, 'qmp.failed')) throw error;
        log.warn({ node: name, reason: reasonOf(error) }, 'a node of an image stays');
      });
  for (const id of numbers.flatMap(secretsOf)) await ignoringRefusal(qmp.execute('object-del', { id }));
  for (const { file } of present) {
    const set = /^\/dev\/fdset\/(\d+)$/.exec(file)?.[1];
    if (set !== undefined) await ignoringRefusal(qmp.execute('remove-fd', { 'fdset-id': Number(set) }));
  }
}

/** Numbers of images that QEMU has nodes of. */
export async function presentImages(qmp: QmpClient): Promise<number[]> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true });
  const found = nodes.flatMap(
    (node) => /^libvirt-(\d+)-(?:format|storage)$/.exec(node['node-name'] ?? '')?.[1] ?? [],
  );
  return [...new Set(found.map(Number))].sort((a, b) => a - b);
}
