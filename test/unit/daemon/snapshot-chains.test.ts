/** What becomes of images when a snapshot goes: merged down, removed, or kept for whoever needs them. */
import { describe, expect, it } from 'vitest';
import { fatesOf, ImageGraph, withImageReplaced } from '../../../src/daemon/services/snapshot-chains.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';
import type { Snapshot } from '../../../src/model/snapshot/snapshot.ts';

const on = (file: string): DomainDef =>
  parseDomain(
    `<domain type='qemu'><name>d</name><memory>1024</memory><os><type>hvm</type></os><devices>
      <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${file}'/>
        <target dev='vda' bus='virtio'/></disk></devices></domain>`,
    { mode: 'strict' },
  ).definition;

const snapshot = (name: string, file: string, top: string): Snapshot => ({
  name,
  state: 'disk-snapshot',
  creationTime: 1,
  disks: [
    { name: 'vda', snapshot: 'external', source: { type: 'file', file: top, slices: [], seclabels: [] } },
  ],
  domain: on(file),
});

/** Images by what lies below each. */
async function graph(below: Readonly<Record<string, string | undefined>>): Promise<ImageGraph> {
  const made = new ImageGraph();
  for (const path of Object.keys(below))
    await made.add({ path, format: 'qcow2' }, async (image) => {
      const name = below[image.path];
      return name === undefined ? undefined : { name, format: 'qcow2' };
    });
  return made;
}

const chain = { '/top': '/middle', '/middle': '/base', '/base': undefined };
const first = snapshot('first', '/base', '/middle');
const second = snapshot('second', '/middle', '/top');

async function fates(
  own: Snapshot,
  others: readonly Snapshot[],
  facts: {
    readonly below?: Readonly<Record<string, string | undefined>>;
    readonly current?: string;
    readonly users?: Readonly<Record<string, string>>;
  } = {},
) {
  const { below = chain, current = '/top', users = {} } = facts;
  return fatesOf(own, {
    graph: await graph(below),
    others,
    current: [on(current)],
    ours: new Set(['/middle', '/top', '/branch']),
    neededBy: (path) => users[path],
  });
}

describe('the image below a snapshot that goes', () => {
  it('gets what the one image on it holds', async () => {
    expect(await fates(first, [second])).toMatchObject([
      { kind: 'merge', image: { path: '/base' }, top: { path: '/middle' } },
    ]);
    expect(await fates(second, [first])).toMatchObject([
      { kind: 'merge', image: { path: '/middle' }, top: { path: '/top' } },
    ]);
  });

  it('stays while two images lie on it', async () => {
    const below = { ...chain, '/branch': '/base' };
    expect(await fates(first, [second], { below })).toMatchObject([
      { kind: 'keep', reason: '2 images lie on it' },
    ]);
  });

  it('stays when another snapshot is of the same state, or somebody else lies on it or on what lies on it', async () => {
    expect(await fates(first, [{ ...first, name: 'twin' }])).toMatchObject([{ kind: 'keep' }]);
    for (const path of ['/base', '/middle'])
      expect(await fates(first, [second], { users: { [path]: "domain 'clone'" } })).toMatchObject([
        { kind: 'keep', reason: expect.stringContaining("domain 'clone'") },
      ]);
  });

  it('goes when nothing lies on it and it was made for a snapshot, and never else', async () => {
    const below = { '/middle': '/base', '/base': undefined, '/branch': '/base' };
    const leaf = { below, current: '/branch' };
    expect(await fates(second, [first], leaf)).toMatchObject([
      { kind: 'remove', image: { path: '/middle' } },
    ]);
    const foreign = snapshot('foreign', '/base', '/gone');
    expect(
      await fates(foreign, [], { below: { '/base': undefined, '/other': undefined }, current: '/other' }),
    ).toMatchObject([{ kind: 'keep', reason: 'it was not made for a snapshot' }]);
  });

  it('stays while the domain writes to it', async () => {
    expect(await fates(first, [], { current: '/base' })).toMatchObject([
      { kind: 'keep', reason: 'the domain writes to it' },
    ]);
  });
});

it('a definition that names what was merged names the image that it was merged into', () => {
  const { devices } = withImageReplaced(on('/middle'), '/middle', { path: '/base', format: 'raw' });
  expect(devices.disks[0]).toMatchObject({
    driver: { type: 'raw' },
    source: { type: 'file', file: '/base' },
  });
  expect(withImageReplaced(on('/top'), '/middle', { path: '/base', format: 'raw' })).toEqual(on('/top'));
});

it('a definition with a chain names the image that one below it was merged into, once', () => {
  const below = (path: string, rest = '') =>
    `<backingStore type='file'><format type='qcow2'/><source file='${path}'/>${rest}</backingStore>`;
  const withChain = (chain: string): DomainDef =>
    parseDomain(
      `<domain type='qemu'><name>d</name><memory>1024</memory><os><type>hvm</type></os><devices>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/top'/>${chain}
          <target dev='vda' bus='virtio'/></disk></devices></domain>`,
      { mode: 'strict' },
    ).definition;
  const base = { path: '/base', format: 'qcow2' };
  expect(withImageReplaced(withChain(below('/middle', below('/base'))), '/middle', base)).toEqual(
    withChain(below('/base')),
  );
  expect(withImageReplaced(withChain(below('/middle')), '/middle', base)).toMatchObject({
    devices: { disks: [{ source: { file: '/top' }, backingStore: { source: { file: '/base' } } }] },
  });
  const other = withChain(below('/base'));
  expect(withImageReplaced(other, '/middle', base)).toBe(other);
});

it('an image that goes leaves what lay on it on what was below it', async () => {
  const rest = (await graph(chain)).without('/middle');
  expect(rest.chainOf('/top').map(({ path }) => path)).toEqual(['/top', '/base']);
  expect(rest.has('/middle')).toBe(false);
});

it('an image is kept when a snapshot is inside the one on it, which a merge would lose', async () => {
  const inside = {
    ...snapshot('inside', '/middle', '/x'),
    disks: [{ name: 'vda', snapshot: 'internal' as const }],
  };
  expect(await fates(first, [inside])).toMatchObject([
    { kind: 'keep', reason: "snapshot 'inside' is inside what lies on it" },
  ]);
});

it('a chain of headers that leads back to itself has an end', async () => {
  const loop = await graph({ '/a': '/b', '/b': '/a' });
  expect(loop.chainOf('/a').map(({ path }) => path)).toEqual(['/a', '/b']);
});
