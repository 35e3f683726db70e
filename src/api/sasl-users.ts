/** Methods about the users that clients of other hosts may be (qemu+tls:// with SASL). */
import * as z from 'zod';
import { method } from './method.ts';

const since = '0.1.0';
const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, 'must be 1 to 64 letters, digits, and . _ @ -')
  .describe('Name of a user.');
const user = z.object({ name: z.string(), readOnly: z.boolean().describe('May only look.') });

export const saslUserMethods = [
  method({
    name: 'host.sasl-users',
    since,
    summary: 'Lists the users that may come in from other hosts by name and password.',
    // Names of accounts that may do what root may are nothing for whoever may only look.
    access: 'secret',
    params: () => z.strictObject({}),
    result: () => z.object({ users: z.array(user) }),
    errors: ['config.invalid', 'file.failed'],
  }),
  method({
    name: 'host.set-sasl-user',
    since,
    summary: 'Adds a user for clients of other hosts, or gives one another password.',
    description:
      'Kept are a salt and the keys of SCRAM-SHA-256, not the password. It counts where `libvirt.tls_auth` is `sasl`.',
    access: 'modify',
    params: () =>
      z.strictObject({
        name,
        password: z
          .string()
          .min(8)
          .max(1024)
          .regex(/^[^\u0000-\u001f\u007f]*$/, 'must have no control characters')
          .describe('8 to 1024 characters.'),
        readOnly: z.boolean().default(false).describe('Such a user may only look.'),
      }),
    result: () => user,
    errors: ['request.too-large', 'config.invalid', 'file.denied', 'file.no-space', 'file.failed'],
  }),
  method({
    name: 'host.remove-sasl-user',
    since,
    summary: 'Removes a user for clients of other hosts. Whoever is in stays until the connection ends.',
    access: 'modify',
    params: () => z.strictObject({ name: z.string().min(1).max(255).describe('Name of a user.') }),
    result: () => user,
    errors: ['sasl-user.not-found', 'config.invalid', 'file.denied', 'file.no-space', 'file.failed'],
  }),
] as const;
