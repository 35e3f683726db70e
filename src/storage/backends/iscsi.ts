/** Pools of type iscsi: the units of a target that this host logs in to with open-iscsi. */
import { readdir, stat } from 'node:fs/promises';
import { errnoOf, fileError, isVirtError, VirtError } from '../../base/errors.ts';
import type { CompletePoolDef, PoolSpace } from '../../model/storage/pool/pool.ts';
import type { PoolSource } from '../../model/storage/pool/source.ts';
import type { PoolBackend, ScanContext, VolumeFacts, Work } from '../backend.ts';
import { blockDeviceBytes, ownership } from '../directory/look.ts';
import { onHost } from '../host-mounts.ts';
import { poolFailure, type Tools } from '../tools.ts';
import { type BackendParts, directoryOf } from './directory-volumes.ts';

const DEFAULT_PORT = 3260;

export function iscsiBackend({ tools }: BackendParts): PoolBackend {
  return {
    type: 'iscsi',
    volumeFormats: [],
    can: { build: false, delete: false, resize: false, findSources: true },
    isActive: (pool, work) => hasSession(tools, pool, work),
    start: (pool, work) => logIn(tools, pool, work),
    async stop(pool, work) {
      if (await hasSession(tools, pool, work)) await askNode(tools, pool, 'logout', work);
    },
    build: refuse('build'),
    delete: refuse('delete'),
    findSources: (source, work) => targetsOf(tools, source, work),
    async scan(pool, context) {
      const volumes = await unitsOf(pool, context);
      return { volumes, space: spaceOf(volumes), ignored: 0, unsettled: [] };
    },
    look: async (pool, name, context) =>
      (await unitsOf(pool, context)).find((volume) => volume.name === name),
    space: async (pool) => spaceOf(await unitsOf(pool, undefined)),
    createVolume: refuse('create'),
    fillVolume: refuse('create'),
    deleteVolume: refuse('delete'),
    resizeVolume: refuse('resize'),
  };
}

/** What a pool of units that are made elsewhere cannot do. */
const refuse = (verb: string) => async () => {
  throw new VirtError('definition.unsupported', {
    wanted: `${verb} a volume`,
    reason: 'the units of an iSCSI target are made on its server',
  });
};

async function logIn(tools: Tools, pool: CompletePoolDef, work: Work | undefined): Promise<void> {
  const wanted = `start pool '${pool.name}'`;
  if (pool.source?.auth !== undefined || pool.source?.initiator !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'logging in with a name and secret, or as another initiator, is not done here',
      hint: 'set it in /etc/iscsi/iscsid.conf and leave <auth> and <initiator> out',
    });
  if (await hasSession(tools, pool, work)) return;
  await iscsiadm(tools, wanted, discovery(targetOf(pool).portal), work);
  await askNode(tools, pool, 'login', work);
  await untilNamed(tools, work);
}

async function hasSession(tools: Tools, pool: CompletePoolDef, work: Work = {}): Promise<boolean> {
  // Status 21: there are no sessions (iscsiadm(8), exit status).
  const { stdout } = await tools('iscsiadm', ['--mode', 'session'], { ...work, okExitCodes: [0, 21] });
  return stdout.split('\n').some((line) => line.split(' ').includes(targetOf(pool).iqn));
}

function askNode(
  tools: Tools,
  pool: CompletePoolDef,
  verb: 'login' | 'logout',
  work: Work | undefined,
): Promise<string> {
  const { portal, iqn } = targetOf(pool);
  const args = ['--mode', 'node', '--portal', portal, '--targetname', iqn, `--${verb}`];
  return iscsiadm(tools, `${verb} pool '${pool.name}'`, args, work);
}

function discovery(portal: string): readonly string[] {
  return ['--mode', 'discovery', '--type', 'sendtargets', '--portal', portal];
}

function targetOf(pool: CompletePoolDef): { readonly portal: string; readonly iqn: string } {
  const host = pool.source?.hosts[0];
  const iqn = pool.source?.devices[0]?.path;
  if (host === undefined || iqn === undefined) throw new Error(`pool '${pool.name}' has no target`);
  return { portal: portalOf(host), iqn };
}

function portalOf({ name, port = DEFAULT_PORT }: PoolSource['hosts'][number]): string {
  return `${name.includes(':') ? `[${name}]` : name}:${port}`;
}

/** udev names the new units a moment after the login. Without udev nothing is waited for; units that come later are found by a refresh. */
async function untilNamed(tools: Tools, work: Work | undefined): Promise<void> {
  try {
    await tools('udevadm', ['settle', '--timeout=10'], { ...work, okExitCodes: [0, 1] });
  } catch (error) {
    if (!isVirtError(error, 'program.missing')) throw error;
  }
}

async function iscsiadm(
  tools: Tools,
  wanted: string,
  args: readonly string[],
  work: Work = {},
): Promise<string> {
  try {
    // The kernel's module may have to be loaded, which a sandboxed service may not.
    const command = await onHost({ program: 'iscsiadm', args });
    return (await tools(command.program, command.args, work)).stdout;
  } catch (error) {
    throw poolFailure(error, wanted);
  }
}

/** udev's links of the target's units: `ip-ADDRESS:PORT-iscsi-IQN-lun-N`; partitions have an ending of their own. */
async function unitsOf(pool: CompletePoolDef, context: ScanContext | undefined): Promise<VolumeFacts[]> {
  const directory = directoryOf(pool);
  const middle = `-iscsi-${targetOf(pool).iqn}-lun-`;
  const units: VolumeFacts[] = [];
  for (const link of await linksIn(directory)) {
    const at = link.indexOf(middle);
    const number = at === -1 ? undefined : /^(\d+)$/.exec(link.slice(at + middle.length))?.[1];
    if (number === undefined) continue;
    const path = `${directory}/${link}`;
    const stats = await stat(path, { bigint: true });
    const capacityBytes = await blockDeviceBytes(stats);
    units.push({
      name: `unit:0:0:${number}`,
      key: path,
      path,
      type: 'block',
      format: (await context?.formats.declared(path)) ?? 'raw',
      capacityBytes,
      allocationBytes: capacityBytes,
      physicalBytes: capacityBytes,
      ...ownership(stats),
    });
  }
  return units.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function linksIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'read a directory', directory);
  }
}

function spaceOf(volumes: readonly VolumeFacts[]): PoolSpace {
  const capacityBytes = volumes.reduce((sum, volume) => sum + volume.capacityBytes, 0);
  return { capacityBytes, allocationBytes: capacityBytes, availableBytes: 0 };
}

/** What a portal offers: `ADDRESS:PORT,GROUP IQN` in lines. */
async function targetsOf(
  tools: Tools,
  source: PoolSource | undefined,
  work: Work = {},
): Promise<PoolSource[]> {
  const host = source?.hosts[0];
  const wanted = 'find storage pool sources';
  if (host === undefined)
    throw new VirtError('xml.invalid', { wanted, reason: 'host: is missing: it tells which portal to ask' });
  const stdout = await iscsiadm(tools, wanted, discovery(portalOf(host)), work);
  return stdout.split('\n').flatMap((line) => {
    const iqn = /\s(iqn\.\S+)$/.exec(line)?.[1];
    return iqn === undefined ? [] : [{ hosts: [host], devices: [{ path: iqn, freeExtents: [] }] }];
  });
}
