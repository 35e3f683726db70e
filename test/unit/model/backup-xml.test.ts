/** Backups as documents: what is read is what is printed, and what becomes of a wish that leaves things open. */
import { describe, expect, it } from 'vitest';
import { formatBackup, parseBackup } from '../../../src/model/backup/backup.ts';
import { alignBackupDisks } from '../../../src/model/backup/disks.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { expectSchemaValid } from '../../support/libvirt-schema.ts';
import { describeWith } from '../../support/needs.ts';

const domain = parseDomain(
  `<domain type='qemu'><name>web</name><memory unit='KiB'>131072</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
    <devices>
      <disk type='file'><driver name='qemu' type='qcow2'/><source file='/srv/a'/><target dev='vda' bus='virtio'/></disk>
      <disk type='block'><source dev='/dev/vg/b'/><target dev='vdb' bus='virtio'/></disk>
      <disk type='file' device='cdrom'><target dev='hda' bus='ide'/></disk>
    </devices></domain>`,
  { mode: 'strict' },
).definition;

const push = `<domainbackup mode='push'>
  <incremental>c1</incremental>
  <disks>
    <disk name='vda' backup='yes' type='file' backupmode='incremental' incremental='c1'>
      <driver type='qcow2'/>
      <target file='/backup/a'/>
    </disk>
    <disk name='vdb' backup='yes' type='block' backupmode='full'>
      <driver type='raw'/>
      <target dev='/dev/vg/copy'/>
    </disk>
    <disk name='hda' backup='no'/>
  </disks>
</domainbackup>
`;
const pull = `<domainbackup mode='pull'>
  <server transport='unix' tls='yes' socket='/run/b.sock'/>
  <disks>
    <disk name='vda' backup='yes' type='file' exportname='first' exportbitmap='changed'>
      <driver type='qcow2'/>
      <scratch file='/scratch/a'/>
    </disk>
  </disks>
</domainbackup>
`;
const strict = (xml: string) => parseBackup(xml, { mode: 'strict' }).definition;
const aligned = (xml: string) => alignBackupDisks(strict(xml), domain, { suffix: 's', wanted: 'test' });

describe('a backup document', () => {
  it('is printed as it was read', () => {
    for (const document of [push, pull]) expect(formatBackup(strict(document))).toBe(document);
  });

  it('is refused where it contradicts itself', () => {
    const refused: readonly [string, RegExp][] = [
      ["<domainbackup><server name='x' port='1'/></domainbackup>", /server/],
      ["<domainbackup mode='pull'><server transport='unix' name='x'/></domainbackup>", /socket|name/],
      ["<domainbackup mode='pull'><server transport='unix' socket='rel'/></domainbackup>", /absolute/],
      ["<domainbackup><disks><disk name='vda'><scratch file='/x'/></disk></disks></domainbackup>", /scratch/],
      [
        "<domainbackup><disks><disk name='vda' type='file'><target dev='/x'/></disk></disks></domainbackup>",
        /target/,
      ],
      [
        "<domainbackup><disks><disk name='vda' backupmode='full' incremental='c'/></disks></domainbackup>",
        /full/,
      ],
    ];
    for (const [document, why] of refused) expect(() => strict(document), document).toThrow(why);
  });
});

describe('what a wish leaves open', () => {
  it('is all disks with media, beside those, in full', () => {
    const wish = "<domainbackup><disks><disk name='vda' type='file'/></disks></domainbackup>";
    expect(aligned(wish).disks).toMatchObject([
      { name: 'vda', backup: true, backupMode: 'full', target: { file: '/srv/a.s' } },
      { name: 'vdb', backup: false },
      { name: 'hda', backup: false },
    ]);
  });

  it('takes changes since the checkpoint of the whole, but for disks that say otherwise', () => {
    const wish = `<domainbackup><incremental>c1</incremental><disks><disk name='vda' type='file'/>
      <disk name='vdb' type='block' backupmode='full'><target dev='/dev/x'/></disk></disks></domainbackup>`;
    expect(aligned(wish).disks).toMatchObject([
      { name: 'vda', backupMode: 'incremental', incremental: 'c1' },
      { name: 'vdb', backupMode: 'full' },
      { name: 'hda', backup: false },
    ]);
  });

  it('is refused where no name can be found, or no checkpoint is named', () => {
    expect(() => aligned('<domainbackup/>')).toThrow("refusing to generate file name for disk 'vdb'");
    expect(() =>
      aligned("<domainbackup><disks><disk name='vda' backupmode='incremental'/></disks></domainbackup>"),
    ).toThrow(/requires setting 'incremental'/);
    expect(() => aligned("<domainbackup><disks><disk name='hda'/></disks></domainbackup>")).toThrow(
      /no media/,
    );
  });
});

describeWith(['xmllint'], 'a printed backup', () => {
  it('is valid by the schema of libvirt', () => {
    for (const document of [push, pull])
      expectSchemaValid(formatBackup(strict(document)), '/usr/share/libvirt/schemas/domainbackup.rng');
  });
});
