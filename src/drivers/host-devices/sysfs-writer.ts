/** What moving devices between drivers asks of the kernel. */
import { writeFile } from 'node:fs/promises';
import { fileError, reasonOf, VirtError } from '../../base/errors.ts';
import { findProgram, run } from '../../base/exec.ts';

/** Writes to sysfs; tests give a kernel of their own. */
export interface SysfsWriter {
  write(path: string, text: string): Promise<void>;
  /** Loads vfio-pci where it is a module. */
  loadVfio(): Promise<void>;
}

/** This host's kernel. @throws VirtError file.*, host-device.failed, program.missing */
export const kernelSysfs: SysfsWriter = {
  async write(path, text) {
    try {
      await writeFile(path, text, { flag: 'w' });
    } catch (error) {
      throw fileError(error, 'move a device of the host', path);
    }
  },
  async loadVfio() {
    const modprobe = await findProgram('modprobe');
    if (modprobe === undefined)
      throw new VirtError('program.missing', {
        wanted: 'load vfio-pci',
        reason: 'modprobe is not installed',
        hint: 'install the package kmod',
      });
    try {
      await run(modprobe, ['vfio-pci'], { timeoutMs: 30_000 });
    } catch (error) {
      throw new VirtError('host-device.failed', {
        wanted: 'load vfio-pci',
        reason: reasonOf(error),
        hint: 'load it by hand (modprobe vfio-pci, or systemctl start modprobe@vfio_pci), and at boot: echo vfio-pci >/etc/modules-load.d/vfio-pci.conf',
        cause: error,
      });
    }
  },
};
