/** Snapshots as documents: what is read is what is printed, and what contradicts itself is refused. */
import { describe, expect, it } from 'vitest';
import { alignDisks, checkTogether } from '../../../src/model/snapshot/disks.ts';
import { snapshotNameProblem } from '../../../src/model/snapshot/name.ts';
import { formatSnapshot, parseSnapshot } from '../../../src/model/snapshot/snapshot.ts';
import { expectSchemaValid } from '../../support/libvirt-schema.ts';
import { describeWith } from '../../support/needs.ts';

const uuid = '6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022';
const domain = (element: string) => `<${element} type='qemu'>
    <name>web</name>
    <uuid>${uuid}</uuid>
    <memory unit='KiB'>131072</memory>
    <vcpu>1</vcpu>
    <os>
      <type arch='x86_64' machine='pc'>hvm</type>
    </os>
    <devices>
      <disk type='file' device='disk'>
        <driver name='qemu' type='qcow2'/>
        <source file='/srv/web.qcow2'/>
        <target dev='vda' bus='virtio'/>
      </disk>
      <disk type='file' device='cdrom'>
        <target dev='hda' bus='ide'/>
      </disk>
    </devices>
  </${element}>`;

const document = `<domainsnapshot>
  <name>before</name>
  <description>the upgrade</description>
  <state>disk-snapshot</state>
  <parent>
    <name>first</name>
  </parent>
  <creationTime>1700000000</creationTime>
  <memory snapshot='no'/>
  <disks>
    <disk name='vda' snapshot='external' type='file'>
      <driver type='qcow2'/>
      <source file='/srv/web.before'/>
    </disk>
    <disk name='hda' snapshot='no'/>
  </disks>
  ${domain('domain')}
  ${domain('inactiveDomain')}
</domainsnapshot>
`;

const strict = (xml: string) => parseSnapshot(xml, { mode: 'strict' }).definition;

describe('a snapshot document', () => {
  it('is printed and read again as it was', () => {
    const read = strict(document);
    expect(strict(formatSnapshot(read, { secure: true }))).toEqual(read);
    const heads = (text: string) =>
      text
        .split('\n')
        .slice(0, 18)
        .map((line) => line.trim());
    expect(heads(formatSnapshot(read))).toEqual(heads(document));
  });

  it('without a definition names the domain, as libvirt does', () => {
    const { domain: _one, inactiveDomain: _other, ...rest } = strict(document);
    const text = formatSnapshot(rest, { uuid });
    expect(text).toContain(`<uuid>${uuid}</uuid>`);
    expect(strict(text.replace('<uuid>', '<uuid>')).domain).toBeUndefined();
  });

  it('is refused with a file for memory that is elsewhere, and without one for memory outside', () => {
    expect(() => strict("<domainsnapshot><memory snapshot='internal' file='/m'/></domainsnapshot>")).toThrow(
      /memory.file/,
    );
    expect(() => strict("<domainsnapshot><memory snapshot='external'/></domainsnapshot>")).toThrow(/memory/);
  });
});

describeWith(['xmllint'], 'a printed snapshot', () => {
  it("fits libvirt's schema", () => {
    expectSchemaValid(formatSnapshot(strict(document)), '/usr/share/libvirt/schemas/domainsnapshot.rng');
  });
});

describe('which disks a snapshot takes', () => {
  const definition = strict(document).domain;
  if (definition === undefined) throw new Error('the document has a domain');
  const wanted = 'snapshot';
  const align = (disks: Parameters<typeof alignDisks>[1], fallback: 'internal' | 'external') =>
    alignDisks(definition, disks, { fallback, wanted }).map(({ disk, snapshot }) => [
      disk.target.dev,
      snapshot,
    ]);

  it('are all that have something in them, unless a wish says otherwise', () => {
    expect(align([], 'internal')).toEqual([
      ['vda', 'internal'],
      ['hda', 'no'],
    ]);
    expect(align([{ name: '/srv/web.qcow2', snapshot: 'no' }], 'external')).toEqual([
      ['vda', 'no'],
      ['hda', 'no'],
    ]);
  });

  it('are not mixed, not named twice, and there', () => {
    expect(() => align([{ name: 'vda', snapshot: 'external' }], 'internal')).toThrow(
      /must use snapshot mode/,
    );
    expect(() => align([{ name: 'vda' }, { name: 'vda' }], 'external')).toThrow(/twice/);
    expect(() => align([{ name: 'vdz' }], 'external')).toThrow(/no disk named 'vdz'/);
  });

  it('are some at all, and all of an internal one', () => {
    const none = alignDisks(definition, [{ name: 'vda', snapshot: 'no' }], { fallback: 'external', wanted });
    expect(() => checkTogether(none, { memory: 'no', isDiskOnly: true }, wanted)).toThrow(
      /nothing was selected/,
    );
    expect(() => checkTogether(none, { memory: 'internal', isDiskOnly: false }, wanted)).toThrow(/all disks/);
  });
});

it('names that could leave their directory, or are too long, are refused', () => {
  for (const name of ['', '.x', 'a/b', '..', 'x'.repeat(241), 'a\nb'])
    expect(snapshotNameProblem(name), name).toBeDefined();
  expect(snapshotNameProblem('before the upgrade')).toBeUndefined();
});
