/** What programs and the kernel say of storage, as plain data; and which command lines are made of a pool. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { applyPoolDefaults } from '../../../src/model/storage/pool/defaults.ts';
import { parsePool } from '../../../src/model/storage/pool/pool.ts';
import { createBackends } from '../../../src/storage/backends/backends.ts';
import { sourcesOf } from '../../../src/storage/backends/netfs.ts';
import { parseGroups, parsePhysical, parseVolumes } from '../../../src/storage/lvm.ts';
import { parseMounts } from '../../../src/storage/mounts.ts';
import { nextPartition, parsePartitions } from '../../../src/storage/partitions.ts';
import type { Tools } from '../../../src/storage/tools.ts';
import { plainImages } from '../../support/storage-rig.ts';

const pool = (xml: string) =>
  applyPoolDefaults(parsePool(xml, { mode: 'strict' }).definition, {
    newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8',
  });

/** A row of `lvs`, with what a test changes. */
const row = (more: Record<string, string>) => ({
  lv_name: 'root',
  lv_uuid: 'r4xkCv-MQhr',
  lv_size: '8388608',
  lv_attr: '-wi-a-----',
  lv_path: '/dev/vg/root',
  origin: '',
  data_percent: '',
  devices: '/dev/sda2(2)',
  seg_size: '8388608',
  vg_extent_size: '4194304',
  ...more,
});
const lvs = (...rows: object[]) => JSON.stringify({ report: [{ lv: rows }] });

describe('mounts', () => {
  it('are read with their blanks', () => {
    const text =
      '62 27 7:0 / /mnt/a\\040b rw,nosuid - ext4 /dev/loop0 rw\n63 27 0:50 / /srv/nas rw shared:1 - nfs4 nas:/export rw\nnoise\n';
    expect(parseMounts(text)).toEqual([
      { target: '/mnt/a b', type: 'ext4', source: '/dev/loop0' },
      { target: '/srv/nas', type: 'nfs4', source: 'nas:/export' },
    ]);
  });

  it('of network pools have the source that mount is told', () => {
    const of = (source: string) =>
      sourcesOf(
        pool(
          `<pool type='netfs'><name>a</name><source>${source}</source><target><path>/m</path></target></pool>`,
        ),
      );
    expect(of("<host name='nas'/><dir path='/export/'/>")).toEqual(['nas:/export']);
    expect(of("<host name='2001:db8::1'/><dir path='/'/>")).toEqual(['[2001:db8::1]:/']);
    expect(of("<host name='nas'/><dir path='share'/><format type='cifs'/>")).toEqual(['//nas/share']);
  });
});

describe('reports of LVM', () => {
  it('are volumes, one for each name', () => {
    const found = parseVolumes(
      lvs(
        row({}),
        row({ devices: '/dev/sdb(0)', seg_size: '4194304' }),
        row({ lv_name: 'pool0', lv_attr: 'twi-aotz--' }),
        row({ lv_name: '[hidden]' }),
        row({
          lv_name: 'thin',
          lv_attr: 'Vwi-a-tz--',
          data_percent: '25.00',
          devices: '',
          lv_path: '/dev/vg/thin',
        }),
        row({ lv_name: 'snap', lv_attr: 'swi---s---', origin: 'root', lv_path: '/dev/vg/snap' }),
      ),
    );
    expect(found.map(({ name, isActive, usedBytes, origin }) => [name, isActive, usedBytes, origin])).toEqual(
      [
        ['root', true, 8_388_608, undefined],
        ['thin', true, 2_097_152, undefined],
        ['snap', false, 8_388_608, 'root'],
      ],
    );
    expect(found[0]?.extents).toEqual([
      { device: '/dev/sda2', start: 8_388_608, end: 16_777_216 },
      { device: '/dev/sdb', start: 0, end: 4_194_304 },
    ]);
  });

  it('tell groups and devices, and what cannot be read is an error', () => {
    expect(
      parseGroups('{"report":[{"vg":[{"vg_name":"vg","vg_size":"62914560","vg_free":"4194304"}]}]}'),
    ).toEqual([{ name: 'vg', sizeBytes: 62_914_560, freeBytes: 4_194_304 }]);
    expect(parsePhysical('{"report":[{"pv":[{"pv_name":"/dev/loop0","vg_name":""}]}]}')).toEqual([
      { device: '/dev/loop0', group: '' },
    ]);
    expect(() => parseGroups('Volume group not found')).toThrow(/cannot be understood/);
  });
});

describe('partition tables', () => {
  const table = parsePartitions(
    '{"partitiontable":{"label":"gpt","sectorsize":512,"partitions":[{"node":"/dev/nvme0n1p2","start":2048,"size":4096,"type":"0FC63DAF-8483-4772-8E79-3D69D8477DE4"}]}}',
  );

  it('are in bytes', () => {
    expect(table.partitions).toEqual([
      {
        path: '/dev/nvme0n1p2',
        startBytes: 1_048_576,
        sizeBytes: 2_097_152,
        type: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
      },
    ]);
  });

  it('tell the name of the next one', () => {
    expect(nextPartition('/dev/nvme0n1', table)).toBe('/dev/nvme0n1p1');
    expect(nextPartition('/dev/sda', { label: 'gpt', partitions: [] })).toBe('/dev/sda1');
  });
});

describe('a volume group', () => {
  const group = pool("<pool type='logical'><name>vg</name></pool>");

  it('gets its volumes made, filled and removed by names that LVM accepts', async () => {
    const calls: string[] = [];
    const tools: Tools = async (program, args) => {
      calls.push([program, ...args].join(' '));
      return { stdout: lvs(), stderr: '', exitCode: 0 };
    };
    const backend = createBackends({ images: plainImages, tools, log: silentLogger })('logical');
    const volume = { name: 'a', format: 'raw', capacityBytes: 4096, allocationBytes: 4096 } as const;
    await backend.createVolume(group, volume);
    await expect(backend.fillVolume(group, volume, () => Promise.reject(new Error('no')))).rejects.toThrow(
      'no',
    );
    expect(calls).toEqual([
      'lvm lvcreate --yes --wipesignatures y --size 4096b --name a -- vg',
      'lvm lvcreate --yes --wipesignatures y --size 4096b --name a -- vg',
      'lvm lvremove --force -- vg/a',
    ]);
    for (const name of ['-force', 'a/b', 'snapshot1', 'a b'])
      await expect(backend.createVolume(group, { ...volume, name })).rejects.toThrow(/LVM does not accept/);
  });

  it('that is full says so', async () => {
    const tools: Tools = () =>
      Promise.reject(
        new VirtError('program.failed', {
          reason: 'it ended with status 5: Volume group "vg" has insufficient free space (1 extents)',
        }),
      );
    const backend = createBackends({ images: plainImages, tools, log: silentLogger })('logical');
    const volume = { name: 'a', format: 'raw', capacityBytes: 4096, allocationBytes: 4096 } as const;
    await expect(backend.createVolume(group, volume)).rejects.toMatchObject({ code: 'file.no-space' });
  });
});

describe('kinds of pools that are not carried out', () => {
  it('say so, with a way out', async () => {
    const backends = createBackends({
      images: plainImages,
      tools: () => Promise.reject(new Error()),
      log: silentLogger,
    });
    for (const type of [
      'rbd',
      'gluster',
      'scsi',
      'mpath',
      'zfs',
      'sheepdog',
      'vstorage',
      'iscsi-direct',
    ] as const) {
      const backend = backends(type);
      expect(await backend.isActive(pool("<pool type='mpath'><name>a</name></pool>"))).toBe(false);
      await expect(backend.start(pool("<pool type='mpath'><name>a</name></pool>"))).rejects.toMatchObject({
        code: 'definition.unsupported',
        hint: expect.any(String) as string,
      });
    }
  });
});
