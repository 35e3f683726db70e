/** Explicit addresses beside automatic ones, bridges, USB. */
import { disk, disks, nic, numa, type Parts } from './parts.ts';

export const addressParts: Readonly<Record<string, Parts>> = {
  'pc-explicit': {
    devices:
      disk('virtio', 'vda', `<address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>`) +
      disks('virtio', 'vdb', 1) +
      nic('virtio') +
      disk('virtio', 'vdc', `<address type='pci' domain='0x0000' bus='0x02' slot='0x05' function='0x0'/>`),
  },
  'pc-multifunction': {
    devices:
      disk(
        'virtio',
        'vda',
        `<address type='pci' domain='0' bus='0' slot='5' function='0' multifunction='on'/>`,
      ) +
      disk('virtio', 'vdb', `<address type='pci' domain='0' bus='0' slot='5' function='1'/>`) +
      disk('virtio', 'vdc') +
      disk('virtio', 'vdd', `<address type='pci' domain='0' bus='0' slot='7' function='2'/>`),
  },
  'q35-explicit': {
    machine: 'q35',
    devices:
      disk('virtio', 'vda', `<address type='pci' domain='0' bus='0' slot='5' function='0'/>`) +
      disk('virtio', 'vdb', `<address type='pci' domain='0' bus='3' slot='0' function='0'/>`) +
      disk('virtio', 'vdc') +
      nic('e1000e') +
      nic('e1000'),
  },
  'q35-bridges': {
    machine: 'q35',
    devices: `${['pcie-root', 'dmi-to-pci-bridge', 'pci-bridge', 'pcie-root-port', 'pcie-to-pci-bridge', 'pcie-root-port', 'pcie-switch-upstream-port', 'pcie-switch-downstream-port', 'pcie-switch-downstream-port'].map((model, index) => `<controller type='pci' index='${index}' model='${model}'/>`).join('')}${nic('e1000')}${nic('virtio')}`,
  },
  'q35-expander': {
    machine: 'q35',
    vcpu: '<vcpu>4</vcpu>',
    memory: `<memory unit='KiB'>131072</memory>`,
    top: numa,
    devices: `<controller type='pci' index='1' model='pcie-expander-bus'><target busNr='254'><node>1</node></target></controller><controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='0x01' slot='0' function='0'/></controller>${nic('virtio')}`,
  },
  'pc-bridges': {
    devices: `<controller type='pci' index='1' model='pci-bridge'/><controller type='pci' index='3' model='pci-bridge'/><controller type='pci' index='4' model='pci-expander-bus'/>${nic('virtio')}`,
  },
  'q35-root-ports': {
    machine: 'q35',
    devices: `${Array.from({ length: 12 }, (_, index) => `<controller type='pci' index='${index + 1}' model='pcie-root-port'/>`).join('')}${disks('virtio', 'vd', 3)}`,
  },
  'usb-sets': {
    machine: 'q35',
    devices: `<controller type='usb' index='0' model='ich9-ehci1'/><controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller><controller type='usb' index='0' model='ich9-uhci2'><master startport='2'/></controller><controller type='usb' index='0' model='ich9-uhci3'><master startport='4'/></controller><input type='tablet' bus='usb'/><hub type='usb'/><redirdev bus='usb' type='spicevmc'/><redirdev bus='usb' type='spicevmc'/><graphics type='spice' autoport='yes'/>`,
  },
  'usb-models': {
    devices: ['piix3-uhci', 'piix4-uhci', 'ehci', 'pci-ohci', 'nec-xhci', 'qemu-xhci']
      .map((model, index) => `<controller type='usb' index='${index}' model='${model}'/>`)
      .join(''),
  },
  'usb-none': { devices: `<controller type='usb' index='0' model='none'/>` },
  'usb-many': { devices: Array.from({ length: 12 }, () => `<input type='tablet' bus='usb'/>`).join('') },
  'usb-xhci-ports': {
    machine: 'q35',
    devices: `<controller type='usb' index='0' model='qemu-xhci' ports='15'/>${disks('usb', 'sd', 5)}<input type='mouse' bus='usb'/><sound model='usb'/>`,
  },
};
