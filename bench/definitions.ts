/** The domains that are measured: the smallest, and one with twenty devices as virt-install would write it. */
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';

/** A machine that has little besides its board; SeaBIOS finds nothing to boot and halts. */
export function minimalXml(name: string, machine: 'pc' | 'q35'): string {
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='${machine}'>hvm</type></os>
<devices><serial type='pty'/><memballoon model='none'/></devices></domain>`;
}

/** Twenty devices besides controllers; `directory` holds its disk images. */
export function twentyDeviceXml(name: string, directory: string): string {
  const disk = (target: string, file: string): string =>
    `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${join(directory, file)}'/><target dev='${target}' bus='virtio'/></disk>`;
  const channel = (target: string): string =>
    `<channel type='unix'><target type='virtio' name='${target}'/></channel>`;
  return `<domain type='qemu'><name>${name}</name><title>a domain of the benchmark</title><memory unit='MiB'>256</memory>
<vcpu>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>
<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>
<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
<devices>
${disk('vda', 'a.img')}${disk('vdb', 'b.img')}${disk('vdc', 'c.img')}${disk('vdd', 'd.img')}
<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/></disk>
<controller type='scsi' model='virtio-scsi'/><controller type='usb' model='qemu-xhci' ports='15'/>
<interface type='user'><model type='virtio'/></interface><interface type='user'><model type='virtio'/></interface>
<interface type='user'><model type='e1000e'/></interface>
<serial type='pty'/>${channel('org.qemu.guest_agent.0')}${channel('org.vireo.bench.0')}
<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/><input type='mouse' bus='usb'/>
<video><model type='virtio'/></video><watchdog model='i6300esb' action='reset'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><memballoon model='virtio'/>
<panic model='isa'/>
</devices></domain>`;
}

/** A small machine with a disk, a card and a balloon, which statistics have something to say of; its disk is made. */
export function diskGuestXml(name: string, directory: string): string {
  const disk = join(directory, `${name}.img`);
  writeSparse(disk);
  return minimalXml(name, 'pc')
    .replace(
      '<devices>',
      `<devices><disk type='file'><driver name='qemu' type='raw'/><source file='${disk}'/><target dev='vda' bus='virtio'/></disk>
<interface type='user'><model type='virtio'/></interface>`,
    )
    .replace("<memballoon model='none'/>", "<memballoon model='virtio'/>");
}

/** The images that `twentyDeviceXml` names, in its order. */
export function imagesIn(directory: string): string[] {
  return ['a.img', 'b.img', 'c.img', 'd.img'].map((file) => join(directory, file));
}

/** Makes them: sparse, without content. */
export function writeImages(directory: string): void {
  for (const path of imagesIn(directory)) writeSparse(path);
}

function writeSparse(path: string): void {
  const fd = openSync(path, 'w', 0o600);
  ftruncateSync(fd, 64 * 1024 * 1024);
  closeSync(fd);
}
