/** What differs between two definitions, by the paths that people know. */
import { expect, it } from 'vitest';
import { definitionChanges } from '../../../src/model/domain/changes.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';

const domain = (inside: string, devices = ''): DomainDef =>
  parseDomain(
    `<domain type='qemu'><name>web</name><uuid>6a3d9a4e-5a6b-4c8e-9f3a-1d2b3c4d5e6f</uuid>${inside}<os><type>hvm</type></os><devices>${devices}</devices></domain>`,
    { mode: 'strict' },
  ).definition;
const memory = "<memory unit='KiB'>1048576</memory>";
const disk = (dev: string, cache = 'none') =>
  `<disk type='file' device='disk'><driver name='qemu' type='raw' cache='${cache}'/><source file='/d/${dev}'/><target dev='${dev}' bus='virtio'/></disk>`;
const paths = (before: DomainDef, after: DomainDef) =>
  definitionChanges(before, after).map(({ path, before: old, after: now }) => [path, old, now]);

it('finds nothing between equals', () => {
  expect(paths(domain(memory, disk('vda')), domain(memory, disk('vda')))).toEqual([]);
});

it('names attributes, texts and elements', () => {
  const before = domain(`<title>one</title>${memory}<vcpu>1</vcpu>`);
  const after = domain(`${memory}<vcpu current='1'>2</vcpu>`);
  expect(paths(before, after)).toEqual([
    ['title', '<title>one</title>', undefined],
    ['vcpu.current', undefined, '1'],
    ['vcpu', '1', '2'],
  ]);
});

it('tells devices apart by what people call them, in whatever order they are', () => {
  const before = domain(memory, disk('vda') + disk('vdb'));
  const after = domain(memory, disk('vdc') + disk('vda', 'writeback'));
  const changes = definitionChanges(before, after);
  expect(changes.map(({ path }) => path)).toEqual([
    'devices.disk[vda].driver.cache',
    'devices.disk[vdb]',
    'devices.disk[vdc]',
  ]);
  expect(changes[0]).toMatchObject({ before: 'none', after: 'writeback' });
  expect(changes[1]?.before).toMatch(/^<disk type='file'.*vdb.*<\/disk>$/);
  expect(changes[1]).not.toHaveProperty('after');
  expect(changes[2]?.device?.old).toBeUndefined();
});

it('shows no password, neither as an attribute nor in an element', () => {
  const vnc = (passwd: string) => `<graphics type='vnc' port='-1' autoport='yes' passwd='${passwd}'/>`;
  const text = JSON.stringify([
    ...paths(domain(memory, vnc('first1')), domain(memory, vnc('second2'))),
    ...paths(domain(memory), domain(memory, vnc('third3'))),
  ]);
  expect(text).toContain('"devices.graphics[vnc].passwd","***","***"');
  expect(text).not.toMatch(/first1|second2|third3/);
});
