/**
 * Commands of a TPM 2.0 as hexadecimal digits (TPM 2.0 Library, part 3): eight bytes kept at index 0x01500001, by the
 * owner, who has no password; and a platform register, which a TPM forgets when it has no power.
 */

const owner = '40000001';
const index = '01500001';
/** One session: TPM_RS_PW, no nonce, no attributes, no password. */
const session = '00000009400000090000000000';

function command(code: string, ...parts: readonly string[]): string {
  const body = parts.join('');
  const size = (10 + body.length / 2).toString(16).padStart(8, '0');
  return `8002${size}${code}${body}`;
}

/** TPM2_NV_DefineSpace: SHA-256, read and written by owner or index. */
export const nvDefine = command(
  '0000012a',
  owner,
  session,
  '0000',
  '000e',
  index,
  '000b',
  '00060006',
  '0000',
  '0008',
);

/** TPM2_NV_Write of eight bytes, given as digits. */
export const nvWrite = (bytes: string): string =>
  command('00000137', owner, index, session, '0008', bytes, '0000');

/** TPM2_NV_Read of the eight bytes. */
export const nvRead = command('0000014e', owner, index, session, '0008', '0000');

/** TPM2_PCR_Extend of register 16 by a digest of zeros. */
export const pcrExtend = command('00000182', '00000010', session, '00000001', '000b', '00'.repeat(32));

/** TPM2_PCR_Read of register 16. */
export const pcrRead = '80010000001400'.concat('00017e', '00000001', '000b', '03', '000001');
