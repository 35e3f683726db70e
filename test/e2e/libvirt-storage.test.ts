/** Storage by unmodified clients of libvirt: virsh, virt-install, virt-clone, python's binding. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Checksum } from '../../src/base/checksum.ts';
import { TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { outcome } from '../support/outcome.ts';

const run = promisify(execFile);
const python = '/usr/bin/python3';
const MIB = 1024 * 1024;

async function sha256(path: string): Promise<string> {
  const handle = await open(path);
  try {
    const sum = new Checksum();
    await sum.readFrom(handle, 0, (await handle.stat()).size, new AbortController().signal);
    return sum.digest().toString('hex');
  } finally {
    await handle.close();
  }
}

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'virsh'], "libvirt's own clients and storage", () => {
  let daemon: TestDaemon;
  let directory: string;
  let uri: string;
  const virsh = (...args: string[]) => outcome('virsh', ['-c', uri, ...args]);
  const said = async (...args: string[]) => {
    const { status, text } = await virsh(...args);
    expect({ args, status, text }).toMatchObject({ status: 0 });
    return text;
  };
  const refused = async (...args: string[]) => {
    const { status, text } = await virsh(...args);
    expect({ args, status }).toEqual({ args, status: 1 });
    return text;
  };

  beforeAll(async () => {
    const root = mkdtempSync('/tmp/vireo-lvs-');
    directory = mkdtempSync('/tmp/vireo-lvsx-');
    withoutDefaultNetwork(root);
    const file = join(root, 'etc/vireo/vireod.toml');
    writeFileSync(file, `${readFileSync(file, 'utf8')}[libvirt]\nread_only_socket = true\n`);
    daemon = await TestDaemon.start({ root });
    uri = `qemu:///system?socket=${root}/run/libvirt/libvirt-sock`;
    await said('pool-define-as', 'one', 'dir', '--target', join(directory, 'one'));
    await said('pool-build', 'one');
    await said('pool-start', 'one');
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });

  it('see the default pool, and lead another through its life', async () => {
    expect(await said('pool-list', '--all')).toMatch(/default +active +yes/);
    expect(await said('pool-dumpxml', 'default')).toContain('/var/lib/libvirt/images</path>');
    const place = join(directory, 'life');
    expect(await said('pool-create-as', 'life', 'dir', '--target', place, '--build')).toBe(
      'Pool life created',
    );
    expect(await said('pool-list', '--transient', '--type', 'dir', '--name')).toBe('life');
    await said('pool-dumpxml', 'life').then((xml) => writeFileSync(join(directory, 'life.xml'), xml));
    expect(await said('pool-destroy', 'life')).toBe('Pool life destroyed');
    expect(await said('pool-define', join(directory, 'life.xml'))).toContain('Pool life defined');
    expect(await said('pool-info', 'life')).toMatch(/State: +inactive\nPersistent: +yes\nAutostart: +no/);
    expect(await said('pool-autostart', 'life')).toBe('Pool life marked as autostarted');
    expect(await said('pool-list', '--inactive', '--autostart', '--name')).toBe('life');
    expect(await said('pool-start', 'life')).toBe('Pool life started');
    expect(await said('pool-list', '--details')).toMatch(/life +running +yes +yes +[\d.]+ .iB/);
    expect(await said('pool-name', await said('pool-uuid', 'life'))).toBe('life');
    expect(await refused('pool-undefine', 'life')).toContain(
      "error: Requested operation is not valid: storage pool 'life' is still active",
    );
    writeFileSync(join(place, 'by-hand'), 'x');
    expect(await said('pool-refresh', 'life')).toBe('Pool life refreshed');
    expect(await said('vol-list', 'life')).toContain('by-hand');
    rmSync(join(place, 'by-hand'));
    await said('pool-destroy', 'life');
    expect(await said('pool-delete', 'life')).toBe('Pool life deleted');
    expect(existsSync(place)).toBe(false);
    expect(await said('pool-undefine', 'life')).toBe('Pool life has been undefined');
    expect(await refused('pool-info', 'life')).toContain(
      "Storage pool not found: no storage pool with matching name 'life'",
    );
    expect(await said('pool-capabilities')).toContain("<pool type='dir' supported='yes'>");
    expect(await refused('find-storage-pool-sources', 'dir')).toContain('this function is not supported');
  });

  it('make, look at, copy, change and delete volumes', async () => {
    const place = join(directory, 'one');
    await said('vol-create-as', 'one', 'a.qcow2', '1G', '--format', 'qcow2');
    expect(await refused('vol-create-as', 'one', 'a.qcow2', '1G')).toContain(
      "storage volume 'a.qcow2' exists already",
    );
    const above = ['--backing-vol', 'a.qcow2', '--backing-vol-format', 'qcow2'];
    await said('vol-create-as', 'one', 'b.qcow2', '1G', '--format', 'qcow2', ...above);
    expect(await said('vol-list', 'one', '--details')).toMatch(/a\.qcow2 +\/.*a\.qcow2 +file +1\.00 GiB/);
    expect(await said('vol-info', 'a.qcow2', 'one')).toMatch(/Type: +file\nCapacity: +1\.00 GiB/);
    expect(await said('vol-info', 'a.qcow2', 'one', '--physical')).toMatch(/Physical: +\d/);
    const path = join(place, 'a.qcow2');
    expect(await said('vol-path', 'a.qcow2', '--pool', 'one')).toBe(path);
    expect(await said('vol-key', path)).toBe(path);
    expect(await said('vol-name', path)).toBe('a.qcow2');
    expect(await said('vol-pool', path)).toBe('one');
    expect(await said('vol-dumpxml', 'b.qcow2', 'one')).toMatch(/<backingStore>\s*<path>.*a\.qcow2<\/path>/);
    expect(await refused('vol-info', '/nowhere')).toContain(
      "Storage volume not found: no storage vol with matching path '/nowhere'",
    );
    await said('vol-clone', 'b.qcow2', 'c.qcow2', 'one');
    // With all its tables.
    const before = statSync(join(place, 'c.qcow2')).size;
    await said('vol-clone', 'c.qcow2', 'p.qcow2', 'one', '--prealloc-metadata');
    expect(statSync(join(place, 'p.qcow2')).size).toBeGreaterThan(before);
    await said('vol-delete', 'p.qcow2', 'one');
    await said('vol-resize', 'c.qcow2', '2G', '--pool', 'one');
    await said('vol-resize', 'c.qcow2', '1G', '--delta', '--pool', 'one');
    expect(await said('vol-info', 'c.qcow2', 'one')).toMatch(/Capacity: +3\.00 GiB/);
    await said('vol-create-as', 'one', 'w.img', '1M');
    await said('vol-wipe', 'w.img', 'one', '--algorithm', 'random');
    expect(readFileSync(join(place, 'w.img')).some((byte) => byte !== 0)).toBe(true);
    expect(await refused('vol-clone', 'w.img', 'p.img', 'one', '--prealloc-metadata')).toContain(
      'metadata preallocation is not supported for raw volumes',
    );
    expect(await refused('vol-delete', 'a.qcow2', 'one')).toContain("'one/b.qcow2' depends on it");
    for (const name of ['b.qcow2', 'a.qcow2', 'c.qcow2', 'w.img']) await said('vol-delete', name, 'one');
    // For good: no trash here.
    expect(readdirSync(place)).toEqual([]);
    await said('vol-create-as', 'one', 'd.img', '1M');
    const xml = await said('vol-dumpxml', 'd.img', 'one');
    await said('vol-delete', 'd.img', 'one');
    writeFileSync(join(directory, 'vol.xml'), xml);
    expect(await said('vol-create', 'one', join(directory, 'vol.xml'))).toContain('Vol d.img created');
    await said('vol-delete', 'd.img', 'one');
  });

  it('delete the disk of a domain that does not run, as virt-manager does before it removes the domain', async () => {
    await said('vol-create-as', 'one', 'used.img', '1M');
    const path = await said('vol-path', 'used.img', '--pool', 'one');
    const xml = `<domain type='qemu'><name>user</name><memory unit='MiB'>32</memory><os><type>hvm</type></os><devices><disk type='file'><source file='${path}'/><target dev='vda'/></disk></devices></domain>`;
    writeFileSync(join(directory, 'user.xml'), xml);
    await said('define', join(directory, 'user.xml'));
    await said('start', 'user', '--paused');
    expect(await refused('vol-delete', 'used.img', 'one')).toContain(
      "domain 'user' (running, disk vda) depends on it",
    );
    await said('destroy', 'user');
    await said('vol-delete', 'used.img', 'one');
    expect(existsSync(path)).toBe(false);
    await said('undefine', 'user');
  });

  it('upload and download 256 MiB, and find the same bytes', async () => {
    const [from, to] = [join(directory, 'from'), join(directory, 'to')];
    const handle = await open(from, 'wx');
    for (let piece = 0; piece < 16; piece++) await handle.write(randomBytes(16 * MIB));
    await handle.close();
    await said('vol-create-as', 'one', 'big', '256M');
    await said('vol-upload', 'big', from, 'one');
    await said('vol-download', 'big', to, 'one');
    const sum = await sha256(from);
    expect(await sha256(join(directory, 'one/big'))).toBe(sum);
    expect(await sha256(to)).toBe(sum);
    await said('vol-download', 'big', to, 'one', '--offset', '1000', '--length', '5000');
    expect(readFileSync(to).equals(readFileSync(from).subarray(1000, 6000))).toBe(true);
    expect(await refused('vol-upload', 'big', from, 'one', '--offset', '1')).toContain('bytes came');
    await said('vol-delete', 'big', 'one');
    for (const file of [from, to]) rmSync(file);
  });

  it('leave holes out, and replace an image as a whole', async () => {
    const [from, to] = [join(directory, 'sparse'), join(directory, 'back')];
    const handle = await open(from, 'wx');
    await handle.truncate(300 * MIB);
    await handle.write('in the middle', 100_000_000);
    await handle.close();
    await said('vol-create-as', 'one', 'holes', '300M');
    await said('vol-upload', 'holes', from, 'one', '--sparse');
    await said('vol-download', 'holes', to, 'one', '--sparse');
    expect(await sha256(to)).toBe(await sha256(from));
    for (const file of [join(directory, 'one/holes'), to])
      expect(statSync(file).blocks * 512).toBeLessThan(MIB);
    await said('vol-create-as', 'one', 'image', '1G', '--format', 'qcow2');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', join(directory, 'small'), '10M']);
    await said('vol-upload', 'image', join(directory, 'small'), 'one');
    expect(await said('vol-info', 'image', 'one')).toMatch(/Capacity: +10\.00 MiB/);
    expect(await refused('vol-upload', 'image', join(directory, 'vol.xml'), 'one')).toContain('not qcow2');
    expect(await said('vol-info', 'image', 'one')).toMatch(/Capacity: +10\.00 MiB/);
    for (const name of ['holes', 'image']) await said('vol-delete', name, 'one');
  });

  it('only look on the read-only socket', async () => {
    await said('vol-create-as', 'one', 'ro', '1M');
    const readOnly = (...args: string[]) =>
      outcome('virsh', ['-c', uri.replace('libvirt-sock', 'libvirt-sock-ro'), ...args]);
    expect((await readOnly('vol-list', 'one')).text).toContain('/one/ro');
    for (const [args, api] of [
      [['vol-delete', 'ro', 'one'], 'virStorageVolDelete'],
      [['vol-download', 'ro', join(directory, 'x'), 'one'], 'virStorageVolDownload'],
      [['pool-destroy', 'one'], 'virStoragePoolDestroy'],
    ] as const)
      expect(await readOnly(...args)).toMatchObject({
        status: 1,
        text: expect.stringContaining(`operation forbidden: read only access prevents ${api}`),
      });
    await said('vol-delete', 'ro', 'one');
  });

  describeWith([python, '/usr/lib/python3/dist-packages/libvirt.py'], "python's binding", () => {
    it('has its events, lists, lookups, streams and errors', async () => {
      const script = join(import.meta.dirname, '../support/libvirt-storage.py');
      const { status, text } = await outcome(python, [script, uri, directory]);
      expect({ status, text }).toMatchObject({ status: 0 });
      const told = JSON.parse(text.split('\n').at(-1) ?? '') as Record<string, unknown>;
      const lifecycle = [0, 4, 2, 3, 5, 1];
      expect(told).toMatchObject({
        info: [2, 1, 1, 0],
        byPath: 'py',
        byUuid: 'py',
        old: [true, false, true],
        vol: ['v', true, true, [0, 8 * MIB]],
        found: ['v', 'v', 'py', ['v'], ['v'], 1],
        same: true,
        grown: 9 * MIB,
        missing: [
          [49, 18, "Storage pool not found: no storage pool with matching name 'nobody'"],
          [50, 18, "Storage volume not found: no storage vol with matching name 'nothing'"],
          [50, 18, "Storage volume not found: no storage vol with matching path '/nowhere'"],
        ],
        taken: [90, 18, "storage volume 'v' exists already"],
        left: [],
        lifecycle: lifecycle.map((event) => ['py', event]),
        own: lifecycle.slice(1),
        refreshed: true,
        gone: true,
      });
      // Active, persistent, without autostart, of type dir.
      const bits = (told['filters'] as boolean[]).flatMap((isListed, bit) => (isListed ? [bit] : []));
      expect(bits).toEqual([1, 2, 5, 6]);
    });
  });

  describeWith(['virt-install', 'virt-clone'], 'virt-install and virt-clone', () => {
    const options =
      '--memory 64 --import --network none --graphics none --osinfo generic --noautoconsole --virt-type qemu';
    const install = async (name: string, disk: string) => {
      const args = ['--connect', uri, '--name', name, ...options.split(' '), '--disk', disk];
      expect(await outcome('virt-install', args)).toMatchObject({
        status: 0,
        text: expect.stringContaining('Domain creation completed.'),
      });
      await said('destroy', name);
    };

    it('make disks in the default pool, in others and in new ones, copy them and take them away', async () => {
      await install('v1', 'size=1');
      expect(await said('vol-list', 'default')).toContain('v1.qcow2');
      await install('v2', `path=${directory}/one/v2.img,size=1,format=raw`);
      expect(await said('vol-list', 'one')).toContain('v2.img');
      mkdirSync(join(directory, 'elsewhere'));
      await install('v3', `path=${directory}/elsewhere/v3.qcow2,size=1`);
      expect(await said('pool-list', '--autostart', '--persistent', '--name')).toContain('elsewhere');
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', join(directory, 'one/had.qcow2'), '20M']);
      await said('pool-refresh', 'one');
      await install('v4', 'vol=one/had.qcow2');
      expect(await said('domblklist', 'v4')).toContain(`${directory}/one/had.qcow2`);
      const clone = ['--connect', uri, '-o', 'v1', '-n', 'v1-clone', '--auto-clone'];
      expect(await outcome('virt-clone', clone)).toMatchObject({
        status: 0,
        text: expect.stringContaining("Clone 'v1-clone' created successfully."),
      });
      expect(await said('vol-info', 'v1-clone.qcow2', 'default')).toMatch(/Capacity: +1\.00 GiB/);
      for (const name of ['v1-clone', 'v1', 'v2', 'v3', 'v4'])
        expect(await said('undefine', name, '--remove-all-storage')).toMatch(/Volume '\w+'\(.*\) removed/);
      expect(await said('vol-list', 'default')).not.toContain('v1');
      expect(readdirSync(join(directory, 'elsewhere'))).toEqual([]);
    });
  });
});
