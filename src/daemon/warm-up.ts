/**
 * Rehearsal of what clients will ask for: code that runs for the first time is compiled first, and a first define
 * kept everybody else waiting for 25 ms or more. Done when nobody is there, in steps of some milliseconds.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { HypervisorDriver } from '../drivers/driver.ts';
import { parseDomain } from '../model/domain/domain.ts';
import { storedXml } from './services/world.ts';

/** How often all is done: often enough that V8 has compiled what runs in it and begins to optimise. */
const ROUNDS = 6;

/** What is rehearsed: the devices that guests commonly have. No file that it names is looked at. */
export const rehearsed = `<domain type='qemu'><name>rehearsal</name><title>never stored</title><metadata>
<rehearsal xmlns='urn:vireo:rehearsal'/></metadata><memory unit='MiB'>256</memory><vcpu>2</vcpu><os>
<type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features><cpu mode='maximum'/>
<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/>
<timer name='hpet' present='no'/></clock><on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>
<on_crash>destroy</on_crash><pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/><source file='/nowhere/a'/>
<target dev='vda' bus='virtio'/></disk><disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='/nowhere/b'/><target dev='vdb' bus='virtio'/></disk><disk type='file' device='cdrom'>
<driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/></disk>
<controller type='scsi' model='virtio-scsi'/><controller type='usb' model='qemu-xhci' ports='15'/>
<interface type='user'><model type='virtio'/></interface><serial type='pty'/><console type='pty'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><input type='tablet' bus='usb'/>
<graphics type='vnc' port='-1'/><video><model type='virtio'/></video><watchdog model='i6300esb' action='reset'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><memballoon model='virtio'/>
<panic model='isa'/></devices></domain>`;

export type RehearsedDriver = Pick<HypervisorDriver, 'complete' | 'check' | 'capabilitiesXml'>;

/** The work in steps, each of which leaves the event loop to others when it is done. */
async function* rehearse(driver: RehearsedDriver): AsyncGenerator<void, void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    const { definition } = parseDomain(rehearsed, { mode: 'strict' });
    yield;
    const complete = await driver.complete(definition);
    yield;
    await driver.check(complete);
    yield;
    storedXml(complete);
    yield;
    await driver.capabilitiesXml();
    yield;
  }
}

export class WarmUp {
  private readonly steps: AsyncGenerator<void, void>;

  constructor(driver: RehearsedDriver) {
    this.steps = rehearse(driver);
  }

  /**
   * Goes on until all is done, or `isWanted` says no: the next call goes on from there. Nothing is stored or told.
   * Returns true when it came to its end now.
   * @throws VirtError where this host has no emulator for it; then it is over, too
   */
  async run(isWanted: () => boolean): Promise<boolean> {
    while (isWanted()) {
      if ((await this.steps.next()).done) return true;
      await nextTurn();
    }
    return false;
  }
}
