/** SCSI devices of a recorded server for guests: found by their place, opened to one guest, or to several that share. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { listHostDevices } from '../../../src/daemon/services/host-device-list.ts';
import { HostDevices } from '../../../src/drivers/host-devices/host-devices.ts';
import { hostFiles } from '../../../src/kvm/host-files.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { SysfsTree } from '../../support/sysfs-tree.ts';

let tree: SysfsTree;
let directory: string;
let granted: string[];

beforeEach(() => {
  tree = new SysfsTree('server');
  directory = mkdtempSync(join(tmpdir(), 'vireo-claims-'));
  granted = [];
});
afterEach(() => {
  tree.remove();
  rmSync(directory, { recursive: true });
});

const provider = () =>
  new HostDevices({
    directory: join(directory, 'claims'),
    log: silentLogger,
    files: hostFiles(tree.root),
    sysfs: tree,
    nodes: {
      grant: (path, uid) => granted.push(`${path} ${uid}`),
      revoke: (path, uid) => {
        granted = granted.filter((one) => one !== `${path} ${uid}`);
      },
    },
  });

const scsi = (host: number, more = '') =>
  `<hostdev type='scsi'><source><adapter name='scsi_host${host}'/><address bus='0' target='0' unit='0'/></source>${more}</hostdev>`;
const vhost = "<hostdev type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>";

function take(devices: HostDevices, hostdevs: string, name = 'one', uid = 1_900_000_001) {
  const xml = `<domain type='kvm'><name>${name}</name><memory>1024</memory><os><type>hvm</type></os><devices>${hostdevs}</devices></domain>`;
  const { definition } = parseDomain(xml, { mode: 'strict' });
  return devices.take({ domainUuid: `uuid-${name}`, domainName: name, definition, uid });
}

const claims = () => (existsSync(join(directory, 'claims')) ? readdirSync(join(directory, 'claims')) : []);
const mountOn = (device: string) => {
  mkdirSync(join(tree.root, 'proc/self'), { recursive: true });
  writeFileSync(
    join(tree.root, 'proc/self/mountinfo'),
    `22 1 ${device} / /srv rw shared:1 - ext4 /dev/sda rw\n`,
  );
  mkdirSync(join(tree.root, 'sys/dev/block'), { recursive: true });
};

describe('SCSI devices of the host', () => {
  it('are opened to the guest by their generic node, and taken back', async () => {
    const devices = provider();
    await take(devices, scsi(0));
    expect(granted).toEqual(['/dev/sg0 1900000001']);
    expect(devices.scsiNode('0:0:0:0')).toBe('/dev/sg0');
    expect(devices.scsiNode('9:0:0:0')).toBeUndefined();
    expect(devices.holders().get('scsi 0:0:0:0')).toEqual({ uuid: 'uuid-one', name: 'one' });
    await provider().releaseOthers(new Set()); // the next daemon, after this one was killed
    expect(granted).toEqual([]);
    expect(claims()).toEqual([]);
  });

  it('belong to one guest, unless all that have them share them', async () => {
    const devices = provider();
    await take(devices, scsi(0), 'first');
    const inUse = { code: 'host-device.in-use', reason: expect.stringContaining("'first'") as unknown };
    await expect(take(devices, scsi(0), 'second')).rejects.toMatchObject(inUse);
    await expect(take(devices, scsi(0, '<shareable/>'), 'second')).rejects.toMatchObject(inUse);
    await devices.release('uuid-first');
    await take(devices, scsi(0, '<shareable/>'), 'first', 71);
    await take(devices, scsi(0, '<shareable/>'), 'second', 72);
    await expect(take(devices, scsi(0), 'third')).rejects.toMatchObject({ code: 'host-device.in-use' });
    await devices.release('uuid-first');
    expect(granted).toEqual(['/dev/sg0 72']);
    await devices.release('uuid-second');
    expect(claims()).toEqual([]);
  });

  it('shared by guests of one user stay open to it until the last has gone', async () => {
    const devices = provider();
    await take(devices, scsi(0, '<shareable/>'), 'first', 64_055);
    await take(devices, scsi(0, '<shareable/>'), 'second', 64_055);
    await devices.release('uuid-first');
    expect(granted).toContain('/dev/sg0 64055');
    await devices.release('uuid-second');
    expect(granted).toEqual([]);
  });

  it('are given back one by one', async () => {
    const devices = provider();
    const definition = await take(devices, scsi(0) + scsi(1));
    const [first] = definition.devices.hostdevs;
    if (first === undefined) throw new Error('it is gone');
    await devices.releaseOne('uuid-one', first);
    expect(granted).toEqual(['/dev/sg1 1900000001']);
  });

  it('that are not there, have no generic node, or a mounted file system, are refused', async () => {
    const refused = async (hostdevs: string, code: string, reason: string) => {
      await expect(take(provider(), hostdevs)).rejects.toMatchObject({
        code,
        reason: expect.stringContaining(reason) as unknown,
      });
      expect(claims()).toEqual([]);
    };
    await refused(scsi(7), 'host-device.not-found', 'no SCSI device 7:0:0:0');
    rmSync(join(tree.root, 'sys/bus/scsi/devices/1:0:0:0/scsi_generic'), { recursive: true });
    await refused(scsi(1), 'host-device.unusable', 'no generic node');
    mountOn('8:0');
    symlinkSync('../../devices/pci0/host0/0:0:0:0/block/sda', join(tree.root, 'sys/dev/block/8:0'));
    await refused(scsi(0), 'host-device.unusable', 'mounted at /srv');
    await take(provider(), scsi(0, '<readonly/>'));
    expect(granted).toEqual(['/dev/sg0 1900000001']);
  });

  it('of a target over iSCSI need nothing of the host', async () => {
    const iscsi = `<hostdev type='scsi'><source protocol='iscsi' name='iqn.2026-01.com.example:a/1'><host name='example.org'/></source></hostdev>`;
    await take(provider(), iscsi);
    expect([granted, claims()]).toEqual([[], []]);
  });

  it('are listed with what they say of themselves and who has them', async () => {
    const devices = provider();
    await take(devices, scsi(0));
    const listed = listHostDevices(devices, hostFiles(tree.root)).filter(({ type }) => type === 'scsi');
    expect(listed).toEqual([
      {
        type: 'scsi',
        place: '0:0:0:0',
        node: '/dev/sg0',
        block: 'sda',
        kind: 'disk',
        vendorName: 'ATA',
        productName: 'Disk of ATA',
        usedBy: { uuid: 'uuid-one', name: 'one' },
      },
      expect.objectContaining({ place: '1:0:0:0', node: '/dev/sg1', kind: 'cdrom', usedBy: undefined }),
    ]);
  });
});

describe('vhost-scsi targets', () => {
  it('belong to one guest', async () => {
    const devices = provider();
    await take(devices, vhost, 'first');
    await expect(take(devices, vhost, 'second')).rejects.toMatchObject({ code: 'host-device.in-use' });
    await devices.release('uuid-first');
    await take(devices, vhost, 'second');
  });

  it('must be there, where the kernel lets us see its targets', async () => {
    mkdirSync(join(tree.root, 'sys/kernel/config/target/vhost'), { recursive: true });
    await expect(take(provider(), vhost)).rejects.toMatchObject({ code: 'host-device.not-found' });
    mkdirSync(join(tree.root, 'sys/kernel/config/target/vhost/naa.5123456789abcde0'));
    await take(provider(), vhost);
    expect(claims()).toEqual(['vhost-scsi-naa.5123456789abcde0.json']);
  });
});
