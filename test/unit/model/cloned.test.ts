/** The definition of a clone: what is its own, what it shares, and what it is warned of. */
import { describe, expect, it } from 'vitest';
import { clonedDefinition, ownDisks } from '../../../src/model/domain/cloned.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { isTemplate, markedAsTemplate } from '../../../src/model/domain/template.ts';

const old = '11111111-2222-4333-8444-555555555555';
const uuid = '99999999-8888-4777-8666-555555555555';
const genid = '00000000-0000-4000-8000-00000000000a';

const xml = `<domain type='qemu'><name>web</name><uuid>${old}</uuid><genid>77777777-8888-4777-8666-555555555555</genid>
  <title>The web</title><description>front</description><memory unit='MiB'>64</memory>
  <sysinfo type='smbios'><system><entry name='uuid'>${old}</entry></system></sysinfo>
  <os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/v/${old}_VARS.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/p/web.img'/><backingStore/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/iso/${old}.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/p/shared.img'/><target dev='vdb' bus='virtio'/><shareable/></disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/></interface>
    <serial type='pty'><log file='/log/web-console.log'/></serial>
    <serial type='file'><source path='/log/website.txt'/></serial>
    <graphics type='vnc' port='5901' autoport='no'/>
  </devices></domain>`;

const source = markedAsTemplate(parseDomain(xml, { mode: 'strict' }).definition, true);

describe('the definition of a clone', () => {
  const own = { type: 'file' as const, file: '/p/db.qcow2', slices: [], seclabels: [] };
  const disks = [{ target: 'vda', source: own, format: 'qcow2' as const }];
  const { definition, warnings } = clonedDefinition(source, { name: 'db', uuid, genid, disks });
  const text = formatDomain(definition, { inactive: true, secure: true });

  it('has a name, uuid, generation id and MACs of its own', () => {
    expect(definition).toMatchObject({ name: 'db', uuid, genid, title: undefined, description: 'front' });
    expect(definition.devices.interfaces).toMatchObject([{ mac: undefined }]);
    expect(text.split(uuid)).toHaveLength(3); // <uuid> and SMBIOS
  });

  it('has disks of its own where the source writes alone, and shares the others', () => {
    expect(ownDisks(source).map(({ target }) => target.dev)).toEqual(['vda']);
    const [vda, sda, vdb] = definition.devices.disks;
    expect(vda).toMatchObject({ source: { file: '/p/db.qcow2' }, driver: { type: 'qcow2' } });
    expect(vda?.backingStore).toBeUndefined();
    expect(sda?.source).toMatchObject({ file: `/iso/${old}.iso` });
    expect(vdb?.source).toMatchObject({ file: '/p/shared.img' });
  });

  it('has variables and files of its own', () => {
    expect(definition.os.nvram).toEqual({ template: '/usr/share/OVMF/OVMF_VARS.fd' });
    expect(definition.devices.serials[0]?.log?.file).toBe('/log/db-console.log');
    expect(definition.devices.serials[1]?.source).toMatchObject({ path: '/log/db-website.txt' });
  });

  it('is no template, and is warned of what only one can have', () => {
    expect(isTemplate(source)).toBe(true);
    expect(isTemplate(definition)).toBe(false);
    expect(warnings).toEqual([expect.stringContaining('fixed port')]);
  });
});
