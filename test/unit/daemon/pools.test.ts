/** Pools over real directories: life cycle, what others do to the files, restarts. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryVolumePrefix } from '../../../src/model/storage/names.ts';
import { namesOf, put, started } from '../../support/storage-files.ts';
import { dirPool, storageRig } from '../../support/storage-rig.ts';

describe('pools', () => {
  it('are defined, started, stopped and forgotten, and each is told', async () => {
    const rig = storageRig();
    const { pool } = await started(rig);
    expect(rig.storage.definitions.xml(pool, { inactive: false })).toMatch(/<capacity unit='bytes'>[1-9]/);
    await rig.storage.definitions.setAutostart(pool, true);
    await rig.storage.lifecycle.stop(pool);
    await rig.storage.definitions.undefine(pool);
    expect(rig.storage.list()).toEqual([]);
    const told = rig.events.map(({ event }) => event).filter((event) => event.startsWith('pool.'));
    expect(told).toEqual(['pool.defined', 'pool.started', 'pool.stopped', 'pool.undefined']);
  });

  it('are built where nothing is, with mode and parents; deleted only when empty', async () => {
    const rig = storageRig();
    const path = join(rig.directory, 'new/images');
    const { pool } = await rig.storage.definitions.define(
      `<pool type='dir'><name>p</name><target><path>${path}</path><permissions><mode>0750</mode></permissions></target></pool>`,
      'strict',
    );
    await expect(rig.storage.lifecycle.start(pool)).rejects.toMatchObject({
      code: 'file.not-found',
      hint: expect.stringContaining("'vireo pool build p'") as unknown,
    });
    await rig.storage.lifecycle.build(pool, {});
    expect(statSync(path).mode & 0o7777).toBe(0o750);
    await expect(rig.storage.lifecycle.build(pool, { overwrite: true })).rejects.toMatchObject({
      code: 'request.flags',
    });
    put(join(path, 'mine'), 'x');
    await expect(rig.storage.lifecycle.delete(pool)).rejects.toMatchObject({ code: 'file.exists' });
    unlinkSync(join(path, 'mine'));
    await rig.storage.lifecycle.delete(pool);
    expect(existsSync(path)).toBe(false);
  });

  it("take virsh's dashes for what was left out: pool-define-as NAME dir - - - - PATH", async () => {
    const rig = storageRig();
    const define = async (type: string, source: string, path: string) => {
      const { pool } = await rig.storage.definitions.define(
        `<pool type='${type}'><name>${type}</name><source>${source}</source><target><path>${path}</path></target></pool>`,
        'strict',
      );
      return rig.storage.definitions.xml(pool, { inactive: true }).replace(/\s*\n\s*/g, '');
    };
    const dashes = "<host name='-'/><dir path='-'/><device path='-'/><name>-</name>";
    expect(await define('dir', dashes, rig.place('d'))).not.toContain("'-'");
    const disk = await define(
      'fs',
      dashes.replace("device path='-'", "device path='/dev/sdz1'"),
      rig.place('f'),
    );
    expect(disk).toContain("<source><device path='/dev/sdz1'/><format type='auto'/></source>");
    const share = `<host name='nas'/><dir path='/export'/><device path='-'/><name>-</name>`;
    expect(await define('netfs', share, rig.place('n'))).toContain(
      "<source><host name='nas'/><dir path='/export'/>",
    );
    // What is needed is missed all the same.
    await expect(define('netfs', dashes, '/mnt/nas')).rejects.toMatchObject({ code: 'xml.invalid' });
  });

  it('leave a directory that is there as it is', async () => {
    const rig = storageRig();
    const path = rig.place('foreign');
    const before = statSync(path);
    const { pool } = await rig.storage.definitions.define(
      `<pool type='dir'><name>p</name><target><path>${path}</path><permissions><mode>0777</mode><owner>1234</owner></permissions></target></pool>`,
      'strict',
    );
    await rig.storage.lifecycle.build(pool, {});
    expect(statSync(path)).toMatchObject({ mode: before.mode, uid: before.uid });
  });

  it('do not share a directory or a name', async () => {
    const rig = storageRig();
    const { path } = await started(rig);
    await expect(rig.storage.definitions.define(dirPool('q', `${path}/`), 'strict')).rejects.toMatchObject({
      code: 'pool.exists',
    });
    const uuid = '<uuid>11111111-4f50-4a61-8b72-93a4b5c6d7e8</uuid>';
    const second = dirPool('p', '/srv/x').replace('<target>', `${uuid}<target>`);
    await expect(rig.storage.definitions.define(second, 'strict')).rejects.toMatchObject({
      code: 'pool.exists',
    });
  });

  it.each([
    ['/etc', /directory of the system/],
    ['/proc/self', /directory of the system/],
    ['relative/x', /not an absolute path/],
    ['/srv/../etc', /must not contain/],
  ])('are not put on %s', async (path, message) => {
    await expect(storageRig().storage.definitions.define(dirPool('p', path), 'strict')).rejects.toThrow(
      message,
    );
  });

  it('are active again after a restart, with their transient ones; unfinished volumes are gone', async () => {
    const rig = storageRig();
    const { path } = await started(rig);
    const other = rig.place('t');
    await rig.storage.lifecycle.create(dirPool('t', other), 'strict');
    put(join(path, `${temporaryVolumePrefix}abc`), 'half');
    rig.storage.detach();
    const again = storageRig({ directory: rig.directory });
    await again.storage.bringUp(join(rig.directory, 'marker'));
    expect(
      again.storage.list().map(({ name, isActive, isPersistent }) => [name, isActive, isPersistent]),
    ).toEqual([
      ['p', true, true],
      ['t', true, false],
    ]);
    expect(readdirSync(path)).toEqual([]);
  });

  it('that lost their directory meanwhile are told and left off', async () => {
    const rig = storageRig();
    const { path } = await started(rig);
    rig.storage.detach();
    rmSync(path, { recursive: true });
    const again = storageRig({ directory: rig.directory });
    await again.storage.bringUp(join(rig.directory, 'marker'));
    expect(again.storage.find('p').isActive).toBe(false);
    expect(again.events).toContainEqual(expect.objectContaining({ event: 'pool.stopped' }));
  });

  it('whose files an administrator changes are read again; a broken one is put aside and stays named', async () => {
    const rig = storageRig();
    const [{ pool: one }, { pool: two }] = [await started(rig, 'a'), await started(rig, 'b')];
    const fileOf = (uuid: string) => join(rig.directory, 'definitions', `${uuid}.xml`);
    const elsewhere = rig.place('elsewhere');
    const text = readFileSync(fileOf(one.uuid), 'utf8');
    writeFileSync(fileOf(one.uuid), text.replaceAll(join(rig.directory, 'a'), elsewhere));
    writeFileSync(fileOf(two.uuid), 'torn');
    await rig.storage.rescan();
    expect(one.facts?.path).toBe(elsewhere);
    expect(rig.storage.quarantined).toMatchObject([{ uuid: two.uuid }]);
    expect(readFileSync(fileOf(two.uuid), 'utf8')).toContain('<name>b</name>');
    writeFileSync(fileOf(two.uuid), 'torn again');
    const later = storageRig({ directory: rig.directory });
    expect(later.storage.quarantined.map(({ uuid }) => uuid)).toEqual([two.uuid, two.uuid]);
    expect(later.storage.list().map(({ name }) => name)).toContain('a');
  });

  it('are made once as default, and not again when somebody took it away', async () => {
    const rig = storageRig();
    const marker = join(rig.directory, 'default-defined');
    const images = join(rig.directory, 'var/images');
    const first = () => rig.storage.creation.defineDefault(marker, images);
    await rig.storage.bringUp(join(rig.directory, 'started'), first);
    const pool = rig.storage.find('default');
    expect([pool.isActive, pool.autostart, statSync(images).mode & 0o777]).toEqual([true, true, 0o711]);
    await rig.storage.lifecycle.stop(pool);
    await rig.storage.definitions.undefine(pool);
    await first();
    expect(rig.storage.list()).toEqual([]);
  });
});

describe('what is in a directory', () => {
  it('is listed without waiting for anybody: files, and links that root put there', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'a.img'), Buffer.alloc(1000));
    put(join(path, '.hidden'), 'x');
    put(join(path, 'line\nbreak'), 'x');
    put(join(rig.directory, 'elsewhere.iso'), 'iso');
    mkdirSync(join(path, 'directory'));
    symlinkSync(join(path, 'nowhere'), join(path, 'dangling'));
    symlinkSync(join(rig.directory, 'elsewhere.iso'), join(path, 'link.iso'));
    symlinkSync('loop', join(path, 'loop'));
    symlinkSync('/dev/zero', join(path, 'zero'));
    const socket = createServer().listen(join(path, 'socket'));
    await started(rig);
    socket.close();
    expect(namesOf(rig)).toEqual(['a.img', 'link.iso']);
    // Where others may write, a link says nothing of who put it there.
    chmodSync(path, 0o777);
    await rig.storage.lifecycle.refresh(rig.storage.find('p'));
    expect(namesOf(rig)).toEqual(['a.img']);
  });

  it('is followed when others change it', async () => {
    const rig = storageRig();
    const { path } = await started(rig);
    put(join(path, 'a'), 'x');
    await expect.poll(() => namesOf(rig), { timeout: 5000 }).toEqual(['a']);
    renameSync(join(path, 'a'), join(path, 'b'));
    await expect.poll(() => namesOf(rig), { timeout: 5000 }).toEqual(['b']);
    unlinkSync(join(path, 'b'));
    await expect.poll(() => namesOf(rig), { timeout: 5000 }).toEqual([]);
    await expect
      .poll(() => rig.events, { timeout: 5000 })
      .toContainEqual(expect.objectContaining({ event: 'volume.deleted', volume: 'b' }));
  });
});
