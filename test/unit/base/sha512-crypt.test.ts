/** SHA-512 crypt against the example of its specification, as `openssl passwd -6` has it too. */
import { expect, it } from 'vitest';
import { sha512Crypt } from '../../../src/base/sha512-crypt.ts';

it('makes the hashes of the specification', () => {
  expect(sha512Crypt('Hello world!', 'saltstring')).toBe(
    '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1',
  );
  expect(sha512Crypt('', 'x')).toMatch(/^\$6\$x\$[./0-9A-Za-z]{86}$/);
});

it('takes another salt each time', () => {
  expect(sha512Crypt('a')).not.toBe(sha512Crypt('a'));
});
