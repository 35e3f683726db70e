/** Whether somebody gets in without showing who they are. */
import type { CheckContext, HostCheck } from './check.ts';

/** Nothing to tell where no address is served without protection. */
export function checkOpenDoors({ unprotectedAddresses }: CheckContext): HostCheck[] {
  if (unprotectedAddresses.length === 0) return [];
  return [
    {
      id: 'tcp-without-protection',
      title: 'Doors without a lock',
      status: 'problem',
      detail: `whoever reaches ${unprotectedAddresses.join(', ')} by qemu+tcp:// may do what root may on this host: nobody is asked who they are, and nothing is encrypted`,
      repair:
        "empty 'tcp_addresses' in section [libvirt] of vireod.toml, and use qemu+ssh:// or qemu+tls:// ('tls_addresses')",
    },
  ];
}
