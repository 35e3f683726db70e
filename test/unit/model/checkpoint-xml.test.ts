/** Checkpoints as documents: what is read is what is printed, and libvirt's rules for their disks. */
import { describe, expect, it } from 'vitest';
import { formatCheckpoint, parseCheckpoint } from '../../../src/model/checkpoint/checkpoint.ts';
import { alignCheckpointDisks, checkCheckpointDisks } from '../../../src/model/checkpoint/disks.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { expectSchemaValid } from '../../support/libvirt-schema.ts';
import { describeWith } from '../../support/needs.ts';

const domainXml = `<domain type='qemu'>
    <name>web</name>
    <uuid>6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022</uuid>
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
      <disk type='file' device='disk'>
        <driver name='qemu' type='raw'/>
        <source file='/srv/web.raw'/>
        <target dev='vdb' bus='virtio'/>
      </disk>
      <disk type='file' device='cdrom'>
        <target dev='hda' bus='ide'/>
      </disk>
    </devices>
  </domain>`;
const domain = parseDomain(domainXml, { mode: 'strict' }).definition;

const document = `<domaincheckpoint>
  <name>c2</name>
  <description>after the upgrade</description>
  <parent>
    <name>c1</name>
  </parent>
  <creationTime>1700000000</creationTime>
  <disks>
    <disk name='vda' checkpoint='bitmap' bitmap='c2'/>
    <disk name='vdb' checkpoint='no'/>
  </disks>
  ${domainXml}
</domaincheckpoint>
`;

const strict = (xml: string) => parseCheckpoint(xml, { mode: 'strict' }).definition;
const disks = (xml: string) => strict(`<domaincheckpoint><disks>${xml}</disks></domaincheckpoint>`).disks;
const rules = { name: 'c', wanted: 'test' };

describe('a checkpoint document', () => {
  it('is printed and read again as it was', () => {
    const read = strict(document);
    expect(strict(formatCheckpoint(read, { secure: true }))).toEqual(read);
    const head = document.slice(0, document.indexOf('  <domain '));
    expect(formatCheckpoint(read).startsWith(head)).toBe(true);
    expect(formatCheckpoint(read, { noDomain: true })).toBe(`${head}</domaincheckpoint>\n`);
  });

  it('is refused with names that are no names of files, and a bitmap on a disk that is left out', () => {
    for (const name of ['../escape', '.hidden', 'a b', 'a/b'])
      expect(() => strict(`<domaincheckpoint><name>${name}</name></domaincheckpoint>`), name).toThrow(/name/);
    expect(() => disks("<disk name='vda' checkpoint='no' bitmap='x'/>")).toThrow(/bitmap/);
    expect(() => disks('<disk/>')).toThrow(/name/);
  });
});

describe('the disks of a checkpoint', () => {
  it('are all that can be written when none is named, else only those', () => {
    const taken = (wish: string) =>
      alignCheckpointDisks(domain, wish === '' ? [] : disks(wish), rules).map(
        ({ name, checkpoint }) => `${name} ${checkpoint}`,
      );
    expect(taken('')).toEqual(['vda bitmap', 'vdb bitmap', 'hda no']);
    expect(taken("<disk name='/srv/web.qcow2'/>")).toEqual(['vda bitmap', 'vdb no', 'hda no']);
  });

  it('are refused when they are unknown, named twice, empty, raw, or noted under another name', () => {
    const align = (wish: string) => alignCheckpointDisks(domain, disks(wish), rules);
    expect(() => align("<disk name='sdz'/>")).toThrow("no disk named 'sdz'");
    expect(() => align("<disk name='vda'/><disk name='/srv/web.qcow2'/>")).toThrow('specified twice');
    expect(() => align("<disk name='hda'/>")).toThrow("disk 'hda' is empty or readonly");
    const check = (wish: string) => checkCheckpointDisks(domain, align(wish), rules);
    expect(() => check("<disk name='vdb'/>")).toThrow('unsupported for storage type raw');
    expect(() => check("<disk name='vda' bitmap='x'/>")).toThrow("must match checkpoint name 'c'");
    expect(() => check("<disk name='vda' bitmap='c'/>")).not.toThrow();
  });
});

describeWith(['xmllint'], 'a printed checkpoint', () => {
  it('is valid by the schema of libvirt', () => {
    expectSchemaValid(formatCheckpoint(strict(document)), '/usr/share/libvirt/schemas/domaincheckpoint.rng');
    expectSchemaValid(formatCheckpoint({ disks: [] }), '/usr/share/libvirt/schemas/domaincheckpoint.rng');
  });
});
