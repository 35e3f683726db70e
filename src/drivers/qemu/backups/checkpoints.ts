/** The checkpoints of one running guest: bitmaps that come, go, and are counted. */
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { LiveCheckpoints } from '../../driver/backups.ts';
import type { CommandOptions, QmpClient } from '../qmp/client.ts';
import { timeoutError } from '../qmp/wire.ts';
import { topNode } from '../snapshots/internal.ts';
import {
  addBitmap,
  bitmapOn,
  mergeInto,
  type NodeBitmaps,
  nodesOfDisk,
  readBitmaps,
  removeBitmap,
  type TransactionAction,
  wholeChain,
} from './bitmaps.ts';

export interface CheckpointGuest {
  readonly definition: DomainDef;
  /** @throws VirtError qmp.closed */
  monitorClient(): QmpClient;
}

/** However long QEMU is held. */
const PATIENT = { timeoutMs: 24 * 3600 * 1000 } as const;

/** The name of a bitmap that is there for one look only. */
const COUNTED = 'vireo-tmp-size';

export class QemuCheckpoints implements LiveCheckpoints {
  private readonly guest: CheckpointGuest;

  constructor(guest: CheckpointGuest) {
    this.guest = guest;
  }

  async add(name: string, disks: readonly string[]): Promise<void> {
    const qmp = this.guest.monitorClient();
    const nodes = this.found(disks).map(topNode);
    const actions = nodes.map((node) => addBitmap(node, name));
    const made = transaction(qmp, actions, PATIENT);
    await inTime(made, qmp.commandMs).catch((error: unknown) => {
      // Of what nobody was told nothing stays when QEMU does it after all. It fails where the guest has ended meanwhile.
      const remove = () =>
        transaction(
          qmp,
          nodes.map((node) => removeBitmap(node, name)),
        );
      made.then(remove).catch(() => undefined);
      throw error;
    });
  }

  async broken(name: string, disks: readonly string[]): Promise<string[]> {
    const bitmaps = await readBitmaps(this.guest.monitorClient());
    const targets = new Set(this.whole(name, disks, bitmaps).map(({ disk }) => disk.target.dev));
    return this.found(disks)
      .map(({ target }) => target.dev)
      .filter((target) => !targets.has(target));
  }

  async sizes(name: string, disks: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const qmp = this.guest.monitorClient();
    const before = await readBitmaps(qmp);
    const whole = this.whole(name, disks, before);
    const leftOver = whole.flatMap(({ disk }) =>
      bitmapOn(before, topNode(disk), COUNTED) === undefined ? [] : [removeBitmap(topNode(disk), COUNTED)],
    );
    await transaction(qmp, leftOver);
    await transaction(
      qmp,
      whole.flatMap(({ disk, chain }) =>
        mergeInto({ node: topNode(disk), target: COUNTED }, chain, name, before),
      ),
    );
    const counted = await readBitmaps(qmp);
    await transaction(
      qmp,
      whole.map(({ disk }) => removeBitmap(topNode(disk), COUNTED)),
    );
    return new Map(
      whole.map(({ disk }) => [disk.target.dev, bitmapOn(counted, topNode(disk), COUNTED)?.count ?? 0]),
    );
  }

  private whole(name: string, disks: readonly string[], bitmaps: NodeBitmaps) {
    return this.found(disks).flatMap((disk) => {
      const chain = wholeChain(nodesOfDisk(disk), name, bitmaps);
      return chain === undefined ? [] : [{ disk, chain }];
    });
  }

  /** A disk may have been unplugged since. */
  private found(targets: readonly string[]): Disk[] {
    return this.guest.definition.devices.disks.filter(({ target }) => targets.includes(target.dev));
  }
}

/** @throws VirtError qmp.timeout for work that is not done in time, and goes on */
async function inTime(work: Promise<void>, limitMs: number): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(timeoutError('transaction', limitMs)), limitMs);
  try {
    await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Does all, or nothing. @throws VirtError qmp.* */
export async function transaction(
  qmp: QmpClient,
  actions: readonly TransactionAction[],
  options: CommandOptions = {},
): Promise<void> {
  if (actions.length > 0) await qmp.executeRaw('transaction', { actions }, options);
}
