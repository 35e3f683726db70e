/** Which of a client's descriptors QEMU is to use for a disk, and how it opens it. */
import { describe, expect, it } from 'vitest';
import type { PassedFile } from '../../../src/drivers/driver.ts';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { complete, context, readCase, recorded } from '../../golden/argv/cases.ts';

const rw: PassedFile = { fd: 20, access: 'rw', isDirect: false, isDevice: false };
const ro: PassedFile = { ...rw, fd: 21, access: 'ro' };

/** The storage nodes of the golden case with these groups; its first disk is written, its second is a CD. */
function nodes(
  groups: { readonly system: readonly PassedFile[]; readonly medium: readonly PassedFile[] },
  { isWritable = false, version = '7.2' }: { readonly isWritable?: boolean; readonly version?: string } = {},
) {
  const capabilities = recorded(version);
  const command = buildCommand(complete(readCase('disk-passed'), capabilities), capabilities, {
    ...context,
    passedGroups: new Map(Object.entries(groups).map(([name, files]) => [name, { files, isWritable }])),
  });
  const storage = command.args.flatMap(({ flag, value }) =>
    flag === '-blockdev' && typeof value === 'object' && 'json' in value ? [value.json] : [],
  );
  return {
    passed: command.fds.filter(({ kind }) => kind === 'passed').length,
    byName: Object.fromEntries(storage.map((node) => [node['node-name'] as string, node])),
  };
}

describe('a disk on descriptors of a client', () => {
  it('is opened as the one descriptor was', () => {
    const { passed, byName } = nodes({ system: [rw], medium: [ro] });
    expect(passed).toBe(2);
    expect(byName['libvirt-1-storage']).toMatchObject({ 'read-only': false, filename: '/dev/fdset/1' });
    expect(byName['libvirt-2-storage']).toMatchObject({ 'read-only': true, filename: '/dev/fdset/2' });
  });

  it('reads through a descriptor for writing where there is no other, or where its owner says so', () => {
    for (const [medium, isWritable] of [
      [[rw], false],
      [[rw, ro], true],
    ] as const) {
      const { byName } = nodes({ system: [rw], medium }, { isWritable });
      expect(byName['libvirt-2-storage']).toMatchObject({ 'read-only': false });
      // The guest still only reads.
      expect(byName['libvirt-2-format']).toMatchObject({ 'read-only': true });
    }
  });

  it('is a host device when the descriptor is a block device', () => {
    const { byName } = nodes({ system: [{ ...rw, isDevice: true }], medium: [ro] });
    expect(byName['libvirt-1-storage']).toMatchObject({ driver: 'host_device' });
  });

  it('is refused where no descriptor fits', () => {
    expect(() => nodes({ system: [ro], medium: [ro] })).toThrow(
      "devices.disk[0].source.fdgroup: no descriptor of group 'system' is open for reading and writing",
    );
    // Since 9.1 QEMU compares O_DIRECT, too.
    const direct = { ...rw, isDirect: true };
    expect(nodes({ system: [direct], medium: [ro] }).passed).toBe(2);
    expect(() => nodes({ system: [direct], medium: [ro] }, { version: '10' })).toThrow(/O_DIRECT/);
  });
});
