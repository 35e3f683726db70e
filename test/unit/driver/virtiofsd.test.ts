/** virtiofsd's command line: every option of a definition reaches the program, or the start says why not. */
import { describe, expect, it } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { virtiofsdArguments } from '../../../src/drivers/qemu/virtiofsd.ts';
import { describeWith } from '../../support/needs.ts';

type Options = Readonly<Record<string, string | number | boolean>>;
const need = (options: Options, sourceDirectory = '/srv/a,b') =>
  ({ kind: 'virtiofsd', socket: '/run/s', sourceDirectory, options }) as const;

/** What matters of `--help`: of the program in C (QEMU 7.2), and of the one in Rust before and since 1.11. */
const old =
  '    --fd=FDNUM                 fd number of vhost-user socket\n    -o source=PATH   shared directory tree\n';
const rust = '      --shared-dir <SHARED_DIR>\n      --sandbox <SANDBOX>\n';
const newer = `${rust}      --readonly\n          Set the filesystem as readonly\n`;

const everything = {
  cache: 'none',
  sandbox: 'chroot',
  xattr: true,
  threadPoolSize: 8,
} as const;
const refusal = (options: Options, help: string) => {
  try {
    virtiofsdArguments(need(options), '/usr/libexec/virtiofsd', help);
  } catch (error) {
    if (isVirtError(error, 'qemu.lacks')) return error.reason;
    throw error;
  }
  return undefined;
};

describeWith(['root'], 'the virtiofsd of an old QEMU', () => {
  it('takes one list, in which a comma of the path has a backslash', () => {
    expect(virtiofsdArguments(need({}), 'v', old)).toEqual(['--fd=3', '-o', 'source=/srv/a\\,b']);
  });

  it('is given all that the definition says', () => {
    const options = { ...everything, flock: true, posixLock: false };
    expect(virtiofsdArguments(need(options, '/s'), 'v', old)).toEqual([
      '--fd=3',
      '-o',
      'source=/s,cache=none,sandbox=chroot,xattr,flock,no_posix_lock',
      '--thread-pool-size=8',
    ]);
  });

  it('never serves for writing what is to be read only', () => {
    expect(refusal({ readonly: true }, old)).toBe(
      'devices.filesystem.readonly: /usr/libexec/virtiofsd cannot do that',
    );
  });
});

describe('the virtiofsd in Rust', () => {
  it('is given all that the definition says', () => {
    expect(virtiofsdArguments(need({ ...everything, readonly: true }), 'v', newer)).toEqual([
      '--fd=3',
      '--shared-dir',
      '/srv/a,b',
      '--cache',
      'never',
      '--sandbox',
      'chroot',
      '--xattr',
      '--thread-pool-size=8',
      '--readonly',
    ]);
    expect(virtiofsdArguments(need({ xattr: false }, '/s'), 'v', rust)).toEqual([
      '--fd=3',
      '--shared-dir',
      '/s',
    ]);
  });

  it('has no locks, and could serve read-only only later', () => {
    expect(refusal({ flock: false }, newer)).toMatch(/^devices\.filesystem\.binary\.lock\.flock: /);
    expect(refusal({ posixLock: true }, newer)).toMatch(/binary\.lock\.posix/);
    expect(refusal({ readonly: true }, rust)).toMatch(/readonly/);
  });
});
