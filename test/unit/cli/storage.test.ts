/** The pool and volume commands: what they ask of the daemon, and what they say. */
import { describe, expect, it } from 'vitest';
import type { Result } from '../../../src/api/index.ts';
import { VirtError } from '../../../src/base/errors.ts';
import { cliRig } from './cli-rig.ts';

const { daemon, vireoWithInput } = await cliRig();
const vireo = (...args: string[]) => vireoWithInput('<pool/>', ...args);

const GIB = 2 ** 30;

const pool = (name: string, more: Partial<Result<'pool.start'>> = {}): Result<'pool.start'> => ({
  uuid: '0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8',
  ...{ name, type: 'dir', active: true, persistent: true, autostart: true },
  ...{ path: '/srv/images', source: null, volumes: 3, job: null },
  ...{
    capacityBytes: 100 * GIB,
    allocationBytes: 40 * GIB,
    availableBytes: 60 * GIB,
    promisedBytes: 120 * GIB,
  },
  ...more,
});

const volume = (name: string, problem: string | null = null): Result<'volume.find'> => ({
  ...{ name, pool: 'default', key: `/srv/images/${name}`, path: `/srv/images/${name}` },
  ...{ type: 'file', format: 'qcow2', capacityBytes: 20 * GIB, allocationBytes: GIB, problem },
});

describe('vireo pool', () => {
  it('lists pools', async () => {
    const off = { active: false, volumes: null, capacityBytes: null, availableBytes: null, autostart: false };
    daemon.answers = {
      'pool.list': () => ({ pools: [pool('default'), pool('isos', off)], quarantined: [] }),
    };
    const { stdout, code } = await vireo('pool', 'list');
    expect(stdout.split('\n')).toEqual([
      'NAME      STATE      AUTOSTART   TYPE   VOLUMES      SIZE     FREE   USED   PROMISED   PATH',
      'default   active     yes         dir          3   100 GiB   60 GiB   40 %      120 %   /srv/images',
      'isos      inactive   no          dir          -         -        -      -          -   /srv/images',
      '',
    ]);
    expect(code).toBe(0);
  });

  it('makes one, started unless it is told not to', async () => {
    daemon.answers = { 'pool.create': () => ({ pool: pool('isos') }) };
    const { stdout } = await vireo('pool', 'create', 'isos', '/srv/isos', '--build');
    expect(stdout).toBe("Pool 'isos' is active, with 3 volumes: /srv/images.\n");
    expect(daemon.paramsOf('pool.create')).toEqual({
      ...{ name: 'isos', path: '/srv/isos', type: 'dir', build: true, start: true, autostart: false },
    });
  });

  it('asks before it overwrites or deletes', async () => {
    const { stderr, code } = await vireo('pool', 'delete', 'isos');
    expect(stderr).toContain('give --yes');
    expect(code).not.toBe(0);
    expect(daemon.calls).toEqual([]);
  });
});

describe('completions', () => {
  it('offer the volumes of all active pools, and those of pool default by their name alone, too', async () => {
    daemon.answers = {
      'pool.list': () => ({ pools: [pool('default'), pool('isos')], quarantined: [] }),
      'volume.list': (params) => ({
        volumes: [volume((params as { pool: string }).pool === 'isos' ? 'debian.iso' : 'web.qcow2')],
      }),
    };
    expect(await vireo('__complete', 'volumes')).toEqual({
      code: 0,
      stdout: 'web.qcow2\ndefault/web.qcow2\nisos/debian.iso\n',
      stderr: '',
    });
    expect(daemon.paramsOf('pool.list')).toEqual({ active: true });
  });
});

describe('vireo volume', () => {
  it('lists volumes, with what is wrong with them', async () => {
    daemon.answers = { 'volume.list': () => ({ volumes: [volume('a'), volume('b', 'it is broken')] }) };
    const { stdout, stderr } = await vireo('volume', 'list');
    expect(stdout.split('\n').slice(0, 2)).toEqual([
      'NAME   FORMAT     SIZE   TAKEN   PATH',
      'a      qcow2    20 GiB   1 GiB   /srv/images/a',
    ]);
    expect(stderr).toContain('default/b: it is broken');
    expect(daemon.paramsOf('volume.list')).toEqual({ pool: 'default' });
  });

  it.each([
    ['web', { pool: 'default', volume: 'web' }],
    ['isos/web', { pool: 'isos', volume: 'web' }],
    ['/srv/images/a', { pool: 'default', volume: 'a' }],
  ])('means %s', async (text, wanted) => {
    daemon.answers = { 'volume.find': () => volume('a'), 'volume.xml': () => ({ xml: '<volume/>\n' }) };
    expect((await vireo('volume', 'xml', text)).stdout).toBe('<volume/>\n');
    expect(daemon.paramsOf('volume.xml')).toEqual(wanted);
  });

  it('makes, resizes and refuses in words', async () => {
    daemon.answers = {
      'volume.create': () => ({ volume: volume('a'), warnings: ['little space'] }),
      'volume.resize': () => volume('a'),
      'volume.delete': () => {
        throw new VirtError('volume.in-use', { reason: "domain 'web' depends on it" });
      },
    };
    const made = await vireo('volume', 'create', 'a', '20GiB', '--cluster-size', '128KiB');
    expect(made.stdout).toBe("Volume 'default/a' is made: qcow2, 20 GiB, /srv/images/a.\n");
    expect(made.stderr).toContain('little space');
    expect(daemon.paramsOf('volume.create')).toMatchObject({
      capacityBytes: 20 * GIB,
      clusterSizeBytes: 131_072,
    });
    await vireo('volume', 'resize', 'a', '+5GiB');
    expect(daemon.paramsOf('volume.resize')).toMatchObject({
      capacityBytes: 5 * GIB,
      relative: 'more',
      shrink: false,
    });
    expect((await vireo('volume', 'delete', '--yes', 'a')).stderr).toContain("domain 'web' depends on it");
    expect((await vireo('volume', 'create', 'a/b/c', '1GiB')).stderr).toContain('POOL/NAME');
  });
});
