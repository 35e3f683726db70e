/** Every other device. */
import { nic, type Parts } from './parts.ts';

const chardevs = `<serial type='pty'/><serial type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/><protocol type='telnet'/></serial>
<serial type='file'><source path='/tmp/parity.log'/><target type='usb-serial'/></serial><serial type='pty'><target type='pci-serial'/></serial>
<parallel type='file'><source path='/tmp/parity-lp.log'/></parallel>
<console type='pty'/><console type='pty'><target type='virtio'/></console><console type='null'><target type='virtio'/></console>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<channel type='spicevmc'><target type='virtio'/></channel><channel type='pty'><target type='virtio' name='mine'/></channel>
<channel type='unix'><source mode='bind' path='/tmp/parity.sock'/><target type='virtio' name='two'/></channel>
<graphics type='spice' autoport='yes'/>`;

export const deviceParts: Readonly<Record<string, Parts>> = {
  'nics-pc': {
    devices: [
      '',
      'virtio',
      'e1000',
      'e1000e',
      'rtl8139',
      'ne2k_pci',
      'pcnet',
      'vmxnet3',
      'virtio-transitional',
      'virtio-non-transitional',
      'i82551',
    ]
      .map((model) => nic(model))
      .join(''),
  },
  'nics-q35': {
    machine: 'q35',
    devices: [
      '',
      'virtio',
      'e1000',
      'e1000e',
      'rtl8139',
      'vmxnet3',
      'virtio-transitional',
      'virtio-non-transitional',
    ]
      .map((model) => nic(model))
      .join(''),
  },
  'nics-sources': {
    devices:
      nic('virtio', `<interface type='network'><source network='default'/>`) +
      nic('virtio', `<interface type='bridge'><source bridge='br0'/>`) +
      nic('virtio', `<interface type='ethernet'><target dev='tapx'/>`) +
      nic(
        'e1000',
        `<interface type='udp'><source address='127.0.0.1' port='4000'><local address='127.0.0.1' port='4001'/></source>`,
      ) +
      nic('virtio', `<interface type='server'><source address='127.0.0.1' port='4002'/>`) +
      nic('virtio', `<interface type='mcast'><source address='230.0.0.1' port='4003'/>`) +
      `<interface type='user'><model type='virtio'/><link state='down'/></interface>`,
  },
  'chardevs-pc': { devices: chardevs },
  'chardevs-q35': { machine: 'q35', devices: chardevs },
  'console-only': { devices: `<console type='pty'/>` },
  'console-virtio-only': { devices: `<console type='pty'><target type='virtio'/></console>` },
  'serial-only': { devices: `<serial type='pty'><target port='1'/></serial><serial type='null'/>` },
  'serial-debug': { devices: `<serial type='pty'><target type='isa-debug'/></serial>` },
  'graphics-vnc': { devices: `<graphics type='vnc'/>` },
  'graphics-vnc-listen': {
    devices: `<graphics type='vnc' port='5999' listen='0.0.0.0' passwd='secret'/><video><model type='vga' vram='32768'/></video>`,
  },
  'graphics-vnc-socket': {
    devices: `<graphics type='vnc' socket='/tmp/parity-vnc.sock'/><video><model type='virtio' heads='2'><acceleration accel3d='no'/></model></video>`,
  },
  'graphics-spice': {
    machine: 'q35',
    devices: `<graphics type='spice' autoport='yes'><image compression='off'/></graphics><video><model type='qxl'/></video><sound model='ich9'/><channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>`,
  },
  'graphics-spice-no-port': { devices: `<graphics type='spice' autoport='no' listen='127.0.0.1'/>` },
  'graphics-two': {
    devices: `<graphics type='vnc' autoport='yes'/><graphics type='spice'><listen type='none'/></graphics><video><model type='cirrus'/></video>`,
  },
  'graphics-dbus-none': { devices: `<video><model type='none'/></video>` },
  'graphics-network': {
    devices: `<graphics type='vnc' autoport='yes' sharePolicy='force-shared' keymap='de'><listen type='address' address='127.0.0.1'/></graphics>`,
  },
  'videos-pc': {
    devices: ['vga', 'qxl', 'virtio'].map((model) => `<video><model type='${model}'/></video>`).join(''),
  },
  'videos-q35': {
    machine: 'q35',
    devices: `<graphics type='vnc'/>${['bochs', 'qxl', 'virtio'].map((model) => `<video><model type='${model}'/></video>`).join('')}`,
  },
  'video-vmvga': { devices: `<video><model type='vmvga'/></video>` },
  'video-ramfb': { devices: `<video><model type='ramfb'/></video>` },
  'video-cirrus': { machine: 'q35', devices: `<video><model type='cirrus' vram='9216' heads='1'/></video>` },
  sounds: {
    devices: ['ich6', 'ich9', 'ac97', 'es1370', 'sb16', 'usb']
      .map((model) => `<sound model='${model}'/>`)
      .join(''),
  },
  'sound-codecs': {
    machine: 'q35',
    devices: `<sound model='ich9'><codec type='micro'/><codec type='output'/></sound><audio id='1' type='none'/>`,
  },
  rngs: {
    devices: `<rng model='virtio'><backend model='random'/></rng><rng model='virtio'><rate bytes='1024' period='2000'/><backend model='random'>/dev/random</backend></rng><rng model='virtio-transitional'><backend model='builtin'/></rng>`,
  },
  watchdogs: { devices: `<watchdog model='i6300esb'/>` },
  'watchdog-ib700': { devices: `<watchdog model='ib700' action='poweroff'/>` },
  'watchdog-dump': { machine: 'q35', devices: `<watchdog model='i6300esb' action='dump'/>` },
  'tpm-emulator': { machine: 'q35', devices: `<tpm><backend type='emulator'/></tpm>` },
  'tpm-crb': {
    machine: 'q35',
    devices: `<tpm model='tpm-crb'><backend type='emulator' version='2.0'><active_pcr_banks><sha256/></active_pcr_banks></backend></tpm>`,
  },
  'virtio-serial': {
    devices: `<controller type='virtio-serial' index='1' ports='4' vectors='4'/>${Array.from({ length: 5 }, (_, index) => `<channel type='null'><target type='virtio' name='port.${index}'/></channel>`).join('')}<channel type='null'><target type='virtio' name='late'/><address type='virtio-serial' controller='1' bus='0' port='2'/></channel>`,
  },
  inputs: {
    machine: 'q35',
    devices: `<input type='tablet'/><input type='mouse'/><input type='keyboard'/><input type='mouse' bus='usb'/><input type='keyboard' bus='usb'/><input type='tablet' bus='virtio'/><input type='mouse' bus='virtio'/>`,
  },
  filesystems: {
    devices: `<filesystem type='mount' accessmode='mapped'><source dir='/srv'/><target dir='share'/></filesystem><filesystem type='mount'><source dir='/srv'/><target dir='two'/><readonly/></filesystem>`,
  },
  virtiofs: {
    machine: 'q35',
    top: `<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>`,
    devices: `<filesystem type='mount'><driver type='virtiofs'/><source dir='/srv'/><target dir='share'/></filesystem>`,
  },
  smartcards: {
    devices: `<smartcard mode='passthrough' type='tcp'><source mode='bind' host='127.0.0.1' service='4556'/><protocol type='raw'/></smartcard>`,
  },
  shmem: { devices: `<shmem name='mine'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>` },
  vsock: { machine: 'q35', devices: `<vsock model='virtio'><cid auto='no' address='5'/></vsock>` },
  panics: { devices: `<panic/>` },
  'panic-hyperv': {
    features: `<features><acpi/><hyperv><relaxed state='on'/></hyperv></features>`,
    devices: `<panic model='hyperv'/>`,
  },
  iommu: {
    machine: 'q35',
    features: `<features><acpi/><ioapic driver='qemu'/></features>`,
    devices: `<iommu model='intel'><driver intremap='on'/></iommu>`,
  },
  balloon: {
    devices: `<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='10'/></memballoon>`,
  },
  'balloon-none': { devices: `<memballoon model='none'/>` },
  'hostdev-pci': {
    machine: 'q35',
    devices: `<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='0x3d' slot='0' function='0'/></source></hostdev>`,
  },
  'hostdev-scsi': {
    devices: `<controller type='scsi' index='0' model='lsilogic'/><hostdev mode='subsystem' type='scsi' sgio='filtered'><source><adapter name='scsi_host7'/><address bus='0' target='1' unit='2'/></source><readonly/><shareable/></hostdev>`,
  },
  'hostdev-iscsi': {
    machine: 'q35',
    devices: `<controller type='scsi' index='0' model='virtio-scsi'/><hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.2026-01.com.example:a/1'><host name='example.org' port='3260'/></source></hostdev>`,
  },
  'hostdev-vhost-scsi': {
    machine: 'q35',
    devices: `<hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>`,
  },
  'hostdev-usb': {
    devices: `<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xabcd'/></source></hostdev>`,
  },
};
