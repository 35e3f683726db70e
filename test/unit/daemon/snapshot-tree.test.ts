/** The tree of snapshots: order, filters, and documents that would close a circle. */
import { expect, it } from 'vitest';
import { SnapshotTree } from '../../../src/daemon/services/snapshot-tree.ts';
import type { Snapshot } from '../../../src/model/snapshot/snapshot.ts';

const one = (name: string, parent?: string, state: Snapshot['state'] = 'shutoff'): Snapshot => ({
  name,
  state,
  creationTime: 1,
  disks: [{ name: 'vda', snapshot: state === 'disk-snapshot' ? 'external' : 'internal' }],
  ...(parent !== undefined && { parent: { name: parent } }),
});
const tree = new SnapshotTree(
  [one('b', 'a'), one('a'), one('c', 'b', 'running'), one('d', 'a', 'disk-snapshot'), one('e', 'gone')],
  'c',
);
const names = (list: readonly Snapshot[]) => list.map(({ name }) => name);

it('lists each after its parent; one whose parent is gone is a root', () => {
  expect(names(tree.topological)).toEqual(['a', 'b', 'c', 'd', 'e']);
  expect(names(tree.roots)).toEqual(['a', 'e']);
  expect(names(tree.descendantsOf('a'))).toEqual(['b', 'c', 'd']);
});

it('filters by place in the tree, by state and by where it is kept', () => {
  expect(names(tree.filter(tree.all, { leaves: true }))).toEqual(['c', 'd', 'e']);
  expect(names(tree.filter(tree.all, { leaves: false }))).toEqual(['a', 'b']);
  expect(names(tree.filter(tree.all, { states: ['active', 'disk-only'] }))).toEqual(['c', 'd']);
  expect(names(tree.filter(tree.all, { locations: ['external'] }))).toEqual(['d']);
});

it('refuses a parent that lies below', () => {
  expect(() => tree.refuseLoop('a', 'c')).toThrow(/cycle to a/);
  expect(() => tree.refuseLoop('c', 'a')).not.toThrow();
});
