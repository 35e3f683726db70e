/** scripts/setup.sh where something is missing that it cannot install: it says exactly what, and changes nothing. */
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { project } from '../support/daemon.ts';
import { describeWith, hasProgram } from '../support/needs.ts';

/** An id that no file of the host belongs to. */
const UID = 64_998;
/** What the script itself is made of. */
const tools = ['sh', 'dirname', 'uname', 'id', 'sort', 'tr', 'sed', 'head', 'grep', 'printf', 'ls', 'cat'];

describeWith(['root', 'unshare', 'mount', 'setpriv', 'qemu-img'], 'scripts/setup.sh without qemu-img', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vireo-setup-'));
    chmodSync(directory, 0o755);
    mkdirSync(join(directory, 'scripts'));
    copyFileSync(join(project, 'scripts/setup.sh'), join(directory, 'scripts/setup.sh'));
    mkdirSync(join(directory, 'bin'));
    for (const name of readdirSync('/usr/bin').filter(isWanted))
      symlinkSync(join('/usr/bin', name), join(directory, 'bin', name));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  /** The tools, and all that the script looks for except qemu-img. */
  function isWanted(name: string): boolean {
    return (
      tools.includes(name) || /^(qemu-system-.*|xz|zstd|setpriv|prlimit|busybox|ip|nft|dnsmasq)$/.test(name)
    );
  }

  /** Runs the script with another /etc/os-release, in a mount namespace of its own. */
  function setup(osRelease: string, uid: number) {
    writeFileSync(join(directory, 'os-release'), osRelease);
    const inside =
      'mount --bind "$0/os-release" /etc/os-release; exec setpriv --reuid "$1" --regid "$1" --clear-groups env PATH="$0/bin" sh "$0/scripts/setup.sh"';
    return execa('unshare', ['--mount', 'sh', '-ec', inside, directory, String(uid)], {
      reject: false,
      all: true,
      env: { PATH: process.env['PATH'] ?? '' },
    });
  }

  it('tells an ordinary user the command to run as root', async () => {
    const { exitCode, all } = await setup('ID=debian\nVERSION_ID="12"\n', UID);
    expect(all).toMatch(
      /^vireo: {5}sudo apt-get update && sudo apt-get install --no-install-recommends .*\bqemu-utils\b/m,
    );
    if (hasProgram('dnsmasq')) expect(all).not.toContain('dnsmasq');
    expect(exitCode).toBe(1);
    expect(readdirSync(directory).sort()).toEqual(['bin', 'os-release', 'scripts']);
  });

  it('tells the names on a distribution that it does not know, also to root', async () => {
    const { exitCode, all } = await setup('ID=fedora\n', 0);
    expect(all).toContain('the packages of this distribution (fedora) are not known here');
    expect(all).toMatch(/^vireo: {5}.*\bqemu-utils\b/m);
    expect(exitCode).toBe(1);
  });

  it('takes a distribution made from Debian for one', async () => {
    const { exitCode, all } = await setup('ID=linuxmint\nID_LIKE="ubuntu debian"\n', UID);
    expect(all).toContain('sudo apt-get install');
    expect(exitCode).toBe(1);
  });
});
