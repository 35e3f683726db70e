/** What the check of the host says of the programs that guests need. */
import { describe } from 'vitest';
import { refused, tellsOf } from './healthy-host.ts';

describe('the check of programs', () => {
  tellsOf([
    [
      'qemu',
      'no QEMU',
      { files: { '/usr/bin/qemu-system-x86_64': undefined } },
      'problem',
      /no qemu-system-x86_64/,
      /apt-get install qemu-system-x86/,
    ],
    [
      'qemu',
      'an old QEMU',
      { programs: { '/usr/bin/qemu-system-x86_64 --version': 'QEMU emulator version 5.2.0' } },
      'problem',
      /older than 6\.2/,
      /6\.2 or newer/,
    ],
    [
      'qemu',
      'a QEMU that does not run',
      { programs: { '/usr/bin/qemu-system-x86_64 --version': refused } },
      'problem',
      /cannot be run/,
      /apt-get/,
    ],
    [
      'qemu-img',
      'no qemu-img',
      { programs: { '/usr/bin/qemu-img --version': undefined } },
      'problem',
      /not installed/,
      /apt-get install qemu-utils/,
    ],
    [
      'dnsmasq',
      'no dnsmasq for a session',
      { programs: { '/usr/bin/dnsmasq --version': undefined }, context: { mode: 'session' } },
      'absent',
      /not installed/,
      /dnsmasq-base/,
    ],
    ['swtpm', 'no swtpm', { programs: { '/usr/bin/swtpm --version': undefined } }, 'absent', /TPM/, /swtpm/],
    [
      'efi-firmware',
      'no firmware',
      { files: { '/usr/share/qemu/firmware/50-edk2.json': undefined } },
      'absent',
      /efi/,
      /ovmf/,
    ],
  ]);
});
