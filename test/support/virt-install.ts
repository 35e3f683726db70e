/** Definitions as virt-install writes them for our daemon: it is given our capabilities and asked to print, not to install. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { VireoClient } from '../../src/api/client.ts';

const run = promisify(execFile);

/**
 * What users ask of it, by name; `DIR` is a directory with `disk.raw`, `disk.qcow2`, `cd.iso`, `vmlinuz`, `initrd` and
 * a world-writable `share/`. Every line is started with --network user unless it names another.
 */
export const virtInstallCases: Readonly<Record<string, string>> = {
  import: '--import --disk DIR/disk.raw,format=raw --os-variant debian11',
  'import-qcow2': '--import --disk DIR/disk.qcow2,format=qcow2 --os-variant debian11',
  cdrom: '--cdrom DIR/cd.iso --disk DIR/disk.raw,format=raw --os-variant debian11',
  'cdrom-windows': '--cdrom DIR/cd.iso --disk DIR/disk.raw,format=raw --os-variant win10',
  'windows-11': '--import --disk DIR/disk.raw,format=raw --os-variant win11 --memory 256',
  generic: '--import --disk DIR/disk.raw,format=raw --os-variant generic',
  'kernel-boot':
    '--import --disk DIR/disk.raw,format=raw --os-variant debian11 --boot kernel=DIR/vmlinuz,initrd=DIR/initrd,kernel_args=console=ttyS0',
  pxe: '--pxe --disk none --os-variant generic',
  diskless: '--import --disk none --os-variant generic --graphics none',
  'graphics-vnc': '--import --disk none --os-variant debian11 --graphics vnc',
  'graphics-vnc-options':
    '--import --disk none --os-variant debian11 --graphics vnc,listen=0.0.0.0,password=abc,keymap=de',
  'graphics-vnc-socket': '--import --disk none --os-variant debian11 --graphics vnc,listen=socket',
  'graphics-spice': '--import --disk none --os-variant debian11 --graphics spice',
  'graphics-spice-local': '--import --disk none --os-variant debian11 --graphics spice,listen=none',
  'graphics-none':
    '--import --disk none --os-variant debian11 --graphics none --console pty,target_type=serial',
  'graphics-egl': '--import --disk none --os-variant debian11 --graphics vnc --graphics spice',
  uefi: '--import --disk DIR/disk.raw,format=raw --os-variant debian11 --boot uefi',
  'uefi-features':
    '--import --disk none --os-variant debian11 --boot firmware=efi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=no',
  'uefi-loader':
    '--import --disk none --os-variant debian11 --boot loader=/usr/share/OVMF/OVMF_CODE_4M.fd,loader.readonly=yes,loader.type=pflash,nvram.template=/usr/share/OVMF/OVMF_VARS_4M.fd',
  'boot-order':
    '--import --disk DIR/disk.raw,format=raw,boot.order=2 --os-variant debian11 --network user,boot.order=1',
  'boot-menu': '--import --disk none --os-variant debian11 --boot hd,cdrom,network,menu=on,useserial=on',
  machine: '--import --disk DIR/disk.raw,format=raw --os-variant debian11 --machine pc',
  'machine-old': '--import --disk DIR/disk.raw,format=raw --os-variant debian11 --machine pc-i440fx-6.2',
  tpm: '--import --disk none --os-variant debian11 --tpm backend.type=emulator,backend.version=2.0,model=tpm-crb',
  'tpm-tis': '--import --disk none --os-variant debian11 --tpm emulator',
  'video-qxl': '--import --disk none --os-variant debian11 --video qxl',
  'video-virtio': '--import --disk none --os-variant debian11 --video virtio',
  'video-vga': '--import --disk none --os-variant debian11 --video vga',
  'video-cirrus': '--import --disk none --os-variant debian11 --video cirrus',
  'video-bochs': '--import --disk none --os-variant debian11 --video bochs',
  'video-none': '--import --disk none --os-variant debian11 --video none',
  'video-ramfb': '--import --disk none --os-variant debian11 --video ramfb',
  'sound-default': '--import --disk none --os-variant debian11 --sound default',
  'sound-ich6': '--import --disk none --os-variant debian11 --sound model=ich6,codec0.type=micro',
  'sound-ac97': '--import --disk none --os-variant debian11 --sound ac97',
  'sound-es1370': '--import --disk none --os-variant debian11 --sound es1370',
  'disk-virtio':
    '--import --disk DIR/disk.raw,format=raw,bus=virtio,cache=none,io=native --os-variant debian11',
  'disk-scsi':
    '--import --disk DIR/disk.raw,format=raw,bus=scsi,discard=unmap --controller scsi,model=virtio-scsi --os-variant debian11',
  'disk-sata': '--import --disk DIR/disk.raw,format=raw,bus=sata,serial=ABC123 --os-variant debian11',
  'disk-ide': '--import --disk DIR/disk.raw,format=raw,bus=ide --machine pc --os-variant generic',
  'disk-usb': '--import --disk DIR/disk.raw,format=raw,bus=usb,removable=on --os-variant debian11',
  'disk-floppy': '--import --disk DIR/disk.raw,device=floppy,format=raw --machine pc --os-variant generic',
  'disk-cdrom-empty': '--import --disk device=cdrom,bus=sata --os-variant debian11',
  'disk-readonly': '--import --disk DIR/disk.raw,format=raw,readonly=on,shareable=on --os-variant debian11',
  'disk-iotune':
    '--import --disk DIR/disk.raw,format=raw,iotune.read_iops_sec=100,iotune.write_bytes_sec=1048576 --os-variant debian11',
  'disk-many':
    '--import --disk DIR/disk.raw,format=raw --disk DIR/cd.iso,device=cdrom --disk DIR/disk2.raw,format=raw,bus=scsi --os-variant debian11',
  'network-model':
    '--import --disk none --os-variant debian11 --network user,model=e1000e,mac=52:54:00:11:22:33',
  'network-two': '--import --disk none --os-variant debian11 --network user --network user,model=rtl8139',
  'network-none': '--import --disk none --os-variant debian11 --network none',
  memorybacking:
    '--import --disk none --os-variant debian11 --memorybacking access.mode=shared,source.type=memfd',
  'memory-locked': '--import --disk none --os-variant debian11 --memorybacking nosharepages=on',
  'memory-max': '--import --disk none --os-variant debian11 --memory 96,maxmemory=128',
  'cpu-host-model': '--import --disk none --os-variant debian11 --cpu host-model',
  'cpu-model': '--import --disk none --os-variant debian11 --cpu qemu64,+ssse3,-svm',
  'cpu-maximum': '--import --disk none --os-variant debian11 --cpu mode=maximum',
  'vcpus-topology':
    '--import --disk none --os-variant debian11 --vcpus 4,maxvcpus=8,sockets=2,cores=2,threads=2',
  'vcpus-numa':
    '--import --disk none --os-variant debian11 --vcpus 2 --cpu qemu64,numa.cell0.id=0,numa.cell0.cpus=0,numa.cell0.memory=65536,numa.cell1.id=1,numa.cell1.cpus=1,numa.cell1.memory=65536',
  features:
    '--import --disk none --os-variant debian11 --features acpi=on,apic=on,pae=on,smm.state=on,vmport.state=off',
  'features-hyperv':
    '--import --disk none --os-variant win10 --features hyperv.relaxed.state=on,hyperv.vapic.state=on,hyperv.spinlocks.state=on,hyperv.spinlocks.retries=8191',
  clock: '--import --disk none --os-variant debian11 --clock offset=localtime,hpet_present=yes',
  pm: '--import --disk none --os-variant debian11 --pm suspend_to_mem.enabled=yes,suspend_to_disk.enabled=no',
  'events-actions':
    '--import --disk none --os-variant debian11 --events on_poweroff=destroy,on_reboot=restart,on_crash=preserve',
  'controller-usb': '--import --disk none --os-variant debian11 --controller usb,model=ich9-ehci1',
  'controller-usb2': '--import --disk none --os-variant generic --machine pc --controller usb2',
  'controller-usb3': '--import --disk none --os-variant debian11 --controller usb3',
  'channel-agent':
    '--import --disk none --os-variant debian11 --channel unix,target_type=virtio,name=org.qemu.guest_agent.0',
  'channel-spicevmc': '--import --disk none --os-variant debian11 --graphics spice --channel spicevmc',
  'channel-webdav':
    '--import --disk none --os-variant debian11 --graphics spice --channel spiceport,target.type=virtio,target.name=org.spice-space.webdav.0,source.channel=org.spice-space.webdav.0',
  'serial-file': '--import --disk none --os-variant debian11 --serial file,path=DIR/serial.log',
  'serial-tcp':
    '--import --disk none --os-variant debian11 --serial tcp,host=127.0.0.1:25777,mode=bind,protocol=telnet',
  'serial-unix': '--import --disk none --os-variant debian11 --serial unix,path=DIR/serial.sock,mode=bind',
  'console-virtio': '--import --disk none --os-variant debian11 --console pty,target_type=virtio',
  parallel: '--import --disk none --os-variant debian11 --parallel file,path=DIR/parallel.log',
  rng: '--import --disk none --os-variant debian11 --rng /dev/urandom,rate.bytes=1024,rate.period=1000',
  'rng-builtin':
    '--import --disk none --os-variant debian11 --rng type=builtin,backend.model=builtin,model=virtio',
  watchdog: '--import --disk none --os-variant debian11 --watchdog i6300esb,action=reset',
  'watchdog-default': '--import --disk none --os-variant debian11 --watchdog default',
  'filesystem-9p': '--import --disk none --os-variant debian11 --filesystem DIR/share,hostshare,mode=mapped',
  'memballoon-none': '--import --disk none --os-variant debian11 --memballoon none',
  memballoon:
    '--import --disk none --os-variant debian11 --memballoon virtio,autodeflate=on,freePageReporting=on',
  input: '--import --disk none --os-variant debian11 --input tablet,bus=virtio --input keyboard,bus=usb',
  panic: '--import --disk none --os-variant debian11 --panic default',
  smartcard: '--import --disk none --os-variant debian11 --graphics spice --smartcard default',
  redirdev: '--import --disk none --os-variant debian11 --graphics spice --redirdev usb,type=spicevmc',
  iommu:
    '--import --disk none --os-variant debian11 --iommu model=intel,driver.intremap=on --features ioapic.driver=qemu',
  iothreads: '--import --disk DIR/disk.raw,format=raw,driver.iothread=1 --iothreads 2 --os-variant debian11',
  sysinfo: '--import --disk none --os-variant debian11 --sysinfo bios.vendor=Vireo,system.manufacturer=Us',
  metadata: '--import --disk none --os-variant debian11 --metadata title=Web,description=Two',
  numatune: '--import --disk none --os-variant debian11 --numatune 0',
};

/** Writes what virt-install needs to believe that it talks to our daemon; the answer is its --connect. */
export async function virtInstallUri(client: VireoClient, directory: string): Promise<string> {
  const capabilities = join(directory, 'capabilities.xml');
  const domainCapabilities = join(directory, 'domain-capabilities.xml');
  writeFileSync(capabilities, (await client.call('host.capabilities')).xml);
  writeFileSync(
    domainCapabilities,
    (await client.call('host.domain-capabilities', { machine: 'q35', virtType: 'qemu' })).xml,
  );
  // virtinst/uri.py, MagicURI: the prefix that its own tests use.
  return `__virtinst_test__test:///default,fakeuri=qemu:///system,caps=${capabilities},domcaps=${domainCapabilities}`;
}

/** What virt-install prints for a case, as a definition that runs without KVM. */
export async function virtInstallXml(uri: string, name: string, directory: string): Promise<string> {
  const words = (virtInstallCases[name] ?? '').replaceAll('DIR', directory).split(' ');
  const more = [
    ...(words.includes('--network') || words.includes('--pxe') ? [] : ['--network', 'user']),
    ...(words.includes('--memory') ? [] : ['--memory', '128']),
    ...(words.includes('--vcpus') ? [] : ['--vcpus', '1']),
  ];
  const { stdout } = await run(
    'virt-install',
    [
      '--connect',
      uri,
      '--print-xml',
      '1',
      '--dry-run',
      '--check',
      'all=off',
      '--name',
      `vi-${name}`,
      ...words,
      ...more,
    ],
    { env: { ...process.env, LC_ALL: 'C', HOME: directory } },
  );
  return stdout
    .replace('<domain type="kvm"', '<domain type="qemu"')
    .replaceAll(/ type="network"([^]*?)<source network="default"\/>/g, ' type="user"$1');
}
