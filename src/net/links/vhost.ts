/** vhost-net: the kernel moves a guest's packets itself. */
import { constants } from 'node:fs';
import { errnoOf } from '../../base/errors.ts';
import { close, open } from '../../base/ffi.ts';

/** One vhost-net descriptor a queue; none where the host lacks it: QEMU then moves the packets itself. */
export function openVhost(queues: number): number[] {
  const fds: number[] = [];
  try {
    while (fds.length < queues) fds.push(open('/dev/vhost-net', constants.O_RDWR));
    return fds;
  } catch (error) {
    for (const fd of fds) close(fd);
    // ENOENT, ENODEV, ENXIO: no such module here; EACCES, EPERM: a container without the device.
    if (['ENOENT', 'ENODEV', 'ENXIO', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
}
