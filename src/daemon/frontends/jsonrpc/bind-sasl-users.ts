/** Methods about users of SASL onto their file. */
import type { SaslUsers } from '../../services/sasl-users.ts';
import type { Handlers } from './handlers.ts';

export type SaslUserHandlers = Pick<
  Handlers,
  'host.sasl-users' | 'host.set-sasl-user' | 'host.remove-sasl-user'
>;

export function bindSaslUsers(users: SaslUsers): SaslUserHandlers {
  return {
    'host.sasl-users': async () => ({ users: users.list() }),
    'host.set-sasl-user': ({ name, password, readOnly }) => users.set({ name, readOnly }, password),
    'host.remove-sasl-user': ({ name }) => users.remove(name),
  };
}
