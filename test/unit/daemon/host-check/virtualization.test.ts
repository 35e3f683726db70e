/** What the check of the host says of virtualisation and the devices that guests need. */
import { describe } from 'vitest';
import { kvm, tellsOf } from './healthy-host.ts';

describe('the check of virtualisation and devices', () => {
  tellsOf([
    [
      'kvm',
      'an unusable KVM',
      {
        context: {
          kvm: {
            ...kvm,
            usable: false,
            problem: { code: 'module-not-loaded', reason: 'no module', repair: 'modprobe kvm_intel' },
          },
        },
      },
      'problem',
      /no module; guests run under emulation/,
      /modprobe kvm_intel/,
    ],
    [
      'kvm',
      'a node for root only',
      { nodes: { '/dev/kvm': { isCharacterDevice: true, mode: 0o600, uid: 0, gid: 0 } } },
      'problem',
      /open to root only/,
      /chgrp kvm/,
    ],
    [
      'nested',
      'nesting off',
      { context: { kvm: { ...kvm, module: { ...kvm.module, nested: false } } } },
      'absent',
      /switched off/,
      /nested=1/,
    ],
    [
      'iommu',
      'no IOMMU',
      { files: { '/sys/kernel/iommu_groups/0/type': undefined } },
      'absent',
      /no IOMMU/,
      /intel_iommu=on/,
    ],
    [
      'vhost-net',
      'no vhost-net',
      { errnos: { '/dev/vhost-net': 'ENOENT' } },
      'warning',
      /slower/,
      /modprobe vhost_net/,
    ],
    [
      'tun',
      'a forbidden tun',
      { errnos: { '/dev/net/tun': 'EPERM' } },
      'problem',
      /may not be opened/,
      /DeviceAllow=\/dev\/net\/tun/,
    ],
    [
      'tun',
      'no tun for a session',
      {
        errnos: { '/dev/net/tun': 'EACCES' },
        context: { mode: 'session', identity: { uid: 1000, gids: [1000] } },
      },
      'absent',
      /user-mode/,
      /qemu:\/\/\/system/,
    ],
  ]);
});
