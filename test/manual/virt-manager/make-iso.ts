/** Makes a bootable ISO (`node make-iso.ts FILE`) with the little Linux of the tests, that speaks on the screen and on the serial port. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { littleLinux, startScript } from '../../support/guest-image.ts';

const bootMenu = `DEFAULT linux
PROMPT 0
TIMEOUT 1
LABEL linux
  KERNEL /linux
  APPEND initrd=/initrd console=ttyS0 console=tty0 no_timer_check
`;

/** The last console is the screen, so the serial port gets a shell of its own. */
const serialShell = startScript(
  '#!/bin/sh\necho "vireo guest: serial" >/dev/ttyS0\nsetsid sh -c "exec sh -l </dev/ttyS0 >/dev/ttyS0 2>&1" &\n',
);

/** Writes it to `target`; needs Debian's isolinux, syslinux-common and xorriso. */
export async function makeIso(target: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-iso-'));
  try {
    const tree = join(directory, 'tree');
    mkdirSync(join(tree, 'isolinux'), { recursive: true });
    const { kernel, initrd } = await littleLinux(directory, [serialShell]);
    copyFileSync(kernel, join(tree, 'linux'));
    copyFileSync(initrd, join(tree, 'initrd'));
    copyFileSync('/usr/lib/ISOLINUX/isolinux.bin', join(tree, 'isolinux/isolinux.bin'));
    copyFileSync('/usr/lib/syslinux/modules/bios/ldlinux.c32', join(tree, 'isolinux/ldlinux.c32'));
    writeFileSync(join(tree, 'isolinux/isolinux.cfg'), bootMenu);
    const options = ['-quiet', '-o', target, '-V', 'LITTLE', '-J', '-R'];
    const boot = ['-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat', '-no-emul-boot'];
    execFileSync('xorriso', [
      '-as',
      'mkisofs',
      ...options,
      ...boot,
      '-boot-load-size',
      '4',
      '-boot-info-table',
      tree,
    ]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const [target] = process.argv.slice(2);
if (import.meta.main && target !== undefined) await makeIso(target);
