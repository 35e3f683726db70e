/** Dirty bitmaps in the images of a guest: which there are, what they are worth, and the actions that change them. */
import * as z from 'zod';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import { layersOf } from '../../../model/domain/disk-chain.ts';
import { formatNode } from '../block-jobs/nodes.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { QmpObject } from '../qmp/codec.ts';

/** qapi/block-core.json, BlockDirtyInfo. */
const bitmapInfo = z.looseObject({
  name: z.string().optional(),
  count: z.number(),
  granularity: z.number(),
  recording: z.boolean(),
  busy: z.boolean(),
  persistent: z.boolean(),
  inconsistent: z.boolean().optional(),
});
export type Bitmap = z.output<typeof bitmapInfo>;

const nodeInfo = z.looseObject({
  'node-name': z.string().optional(),
  'dirty-bitmaps': z.array(bitmapInfo).default([]),
});

/** Bitmaps by the node that they are on. */
export type NodeBitmaps = ReadonlyMap<string, readonly Bitmap[]>;

/** One action of a transaction. */
export interface TransactionAction {
  readonly type: string;
  readonly data: QmpObject;
}

/** Asks for the bitmaps of all nodes. @throws VirtError qmp.* */
export async function readBitmaps(qmp: QmpClient): Promise<NodeBitmaps> {
  const nodes = z.array(nodeInfo).parse(await qmp.execute('query-named-block-nodes', { flat: true }));
  return new Map(nodes.flatMap((node) => [[node['node-name'] ?? '', node['dirty-bitmaps']] as const]));
}

/** The nodes of a disk's images, the topmost first. */
export function nodesOfDisk(disk: Disk): string[] {
  return layersOf(disk).flatMap(({ index }) => (index === undefined ? [] : [formatNode(index)]));
}

export function bitmapOn(bitmaps: NodeBitmaps, node: string, name: string): Bitmap | undefined {
  return bitmaps.get(node)?.find((one) => one.name === name);
}

/** Kept in the image, noting, and whole. */
const isWhole = ({ inconsistent, persistent, recording }: Bitmap): boolean =>
  inconsistent !== true && persistent && recording;

/**
 * The nodes with the bitmap of a checkpoint, when together they tell all that was written since: from the topmost image
 * down, without a gap. Undefined when they do not.
 */
export function wholeChain(
  nodes: readonly string[],
  name: string,
  bitmaps: NodeBitmaps,
): string[] | undefined {
  const found = nodes.map((node) => bitmapOn(bitmaps, node, name));
  const length = found.findIndex((one) => one === undefined);
  const having = length === -1 ? found : found.slice(0, length);
  const isGapless = length === -1 || found.slice(length).every((one) => one === undefined);
  const isFine = having.length > 0 && isGapless && having.every((one) => one !== undefined && isWhole(one));
  return isFine ? nodes.slice(0, having.length) : undefined;
}

export function addBitmap(node: string, name: string, granularity?: number): TransactionAction {
  const more = granularity === undefined ? {} : { granularity };
  return {
    type: 'block-dirty-bitmap-add',
    data: { node, name, persistent: true, disabled: false, ...more },
  };
}

export function removeBitmap(node: string, name: string): TransactionAction {
  return { type: 'block-dirty-bitmap-remove', data: { node, name } };
}

/** Makes `target` on `node`, for this time only and noting nothing, hold all that the bitmaps of a checkpoint do. */
export function mergeInto(
  { node, target }: { readonly node: string; readonly target: string },
  chain: readonly string[],
  name: string,
  bitmaps: NodeBitmaps,
): TransactionAction[] {
  const granularity = bitmapOn(bitmaps, chain[0] ?? '', name)?.granularity;
  return [
    {
      type: 'block-dirty-bitmap-add',
      data: {
        ...{ node, name: target, persistent: false, disabled: true },
        ...(granularity !== undefined && { granularity }),
      },
    },
    mergeAs({ node, target }, chain, name),
  ];
}

/** Adds what bitmaps of the same name on other nodes tell to that on `node`. */
export function mergeBitmaps(
  { node, name }: { readonly node: string; readonly name: string },
  from: readonly string[],
): TransactionAction {
  return mergeAs({ node, target: name }, from, name);
}

function mergeAs(
  { node, target }: { readonly node: string; readonly target: string },
  from: readonly string[],
  name: string,
): TransactionAction {
  const bitmaps = from.map((one) => ({ node: one, name }));
  return { type: 'block-dirty-bitmap-merge', data: { node, target, bitmaps } };
}

/**
 * Before images between the topmost and the base go: what their bitmaps tell comes into that of the topmost, so that no
 * change is forgotten.
 */
export function gatherIntoTop(disk: Disk, bitmaps: NodeBitmaps): TransactionAction[] {
  const nodes = nodesOfDisk(disk);
  const [top = ''] = nodes;
  return (bitmaps.get(top) ?? []).flatMap(({ name = '' }) => {
    const below = (wholeChain(nodes, name, bitmaps) ?? []).slice(1);
    return below.length === 0 ? [] : [mergeBitmaps({ node: top, name }, below)];
  });
}

/** New images on top of others must note for all checkpoints from their first moment. */
export function propagate(from: string, to: string, bitmaps: NodeBitmaps): TransactionAction[] {
  return (bitmaps.get(from) ?? []).flatMap((bitmap) =>
    bitmap.name !== undefined && isWhole(bitmap) ? [addBitmap(to, bitmap.name, bitmap.granularity)] : [],
  );
}
