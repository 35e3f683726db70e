/** A recorded sysfs below a temporary directory, and the little of the kernel that moves devices between drivers. */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { SysfsWriter } from '../../src/drivers/host-devices/sysfs-writer.ts';

const trees = resolve(import.meta.dirname, '../golden/sysfs');

export class SysfsTree implements SysfsWriter {
  readonly root = mkdtempSync(join(tmpdir(), 'vireo-sysfs-'));
  /** What was written, in order: `path text`. */
  readonly writes: string[] = [];
  /** A driver that refuses its devices, as vfio-pci does without rights. */
  refusing: string | undefined;
  private readonly native = new Map<string, string>();
  private readonly overrides = new Map<string, string>();

  constructor(name: string) {
    for (const line of readFileSync(join(trees, `${name}.tree`), 'utf8').split('\n')) {
      const [, path = '', kind = '', value = ''] = /^(\/\S+) (=|->) (.*)$/.exec(line) ?? [];
      if (path === '') continue;
      mkdirSync(dirname(join(this.root, path)), { recursive: true });
      if (kind === '->') symlinkSync(value, join(this.root, path));
      else writeFileSync(join(this.root, path), `${value.replaceAll(';', '\n')}\n`);
      const [, address = ''] = /\/([0-9a-f:]+\.[0-7])\/driver$/.exec(path) ?? [];
      if (address !== '') this.native.set(address, value.split('/').at(-1) ?? '');
    }
  }

  async write(path: string, text: string): Promise<void> {
    this.writes.push(`${path} ${text.trim()}`);
    const address = text.trim();
    const [, overridden = ''] = /devices\/([^/]+)\/driver_override$/.exec(path) ?? [];
    if (overridden !== '') this.overrides.set(overridden, text.trim());
    else if (path.endsWith('/driver/unbind')) unlinkSync(this.link(address));
    else if (path === '/sys/bus/pci/drivers_probe') this.probe(address);
    else if (path !== '/sys/bus/usb/drivers_probe' && !path.endsWith('/reset'))
      throw new Error(`nobody writes ${path}`);
    return Promise.resolve();
  }

  loadVfio(): Promise<void> {
    mkdirSync(join(this.root, '/sys/bus/pci/drivers/vfio-pci'), { recursive: true });
    return Promise.resolve();
  }

  /** Takes a driver away, as when its module was never loaded. */
  removeDriver(name: string): void {
    rmSync(join(this.root, '/sys/bus/pci/drivers', name), { recursive: true });
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  /** A device that has a driver keeps it (drivers/base/dd.c). */
  private probe(address: string): void {
    const driver = (this.overrides.get(address) ?? '') || this.native.get(address);
    if (driver === undefined || driver === this.refusing) return;
    try {
      symlinkSync(`../../drivers/${driver}`, this.link(address));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }

  private link(address: string): string {
    return join(this.root, '/sys/bus/pci/devices', address, 'driver');
  }
}
