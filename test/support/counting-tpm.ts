/** What the counting guest does with its TPM at each step: tells what is in it, and puts something new there. */
import { type CpioEntry, file } from '../../scripts/guest-image/cpio.ts';
import { nvDefine, nvRead, nvWrite, pcrExtend, pcrRead } from './tpm-commands.ts';

const written = '00000000000000aa';

/** Tells the eight bytes that are kept for good, and the beginning of a register that is kept while there is power. */
const script = `#!/bin/busybox sh
say() {
  exec 3<>/dev/tpm0
  printf "$(echo "$1" | sed 's/../\\\\x&/g')" >&3
  dd bs=4096 count=1 <&3 2>/dev/null | hexdump -v -e '/1 "%02x"'
  exec 3>&-
}
say ${nvDefine} >/dev/null
kept=$(say ${nvRead} | cut -c33-48)
register=$(say ${pcrRead} | cut -c61-76)
say $(echo ${nvWrite(written)} | sed "s/${written}/$(printf %016x $1)/") >/dev/null
say ${pcrExtend} >/dev/null
echo "tpm:$kept pcr:$register "
`;

export const tpmStep: CpioEntry = file('etc/tpm-step', script, 0o755);
