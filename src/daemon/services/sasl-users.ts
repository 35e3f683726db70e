/** Whom clients of other hosts may say they are by SASL: names with keys of their passwords, in one file that only root reads. */
import { createHmac, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import * as z from 'zod';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { writeDurable } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { ITERATIONS, SALT_BYTES, type ScramKeys, scramKeys } from '../../base/scram.ts';

export const MAX_SASL_USERS = 1000;
const KEY_BYTES = 32;

export interface SaslUser {
  readonly name: string;
  /** May only look. */
  readonly readOnly: boolean;
}

const bytes = (size: number) => z.base64().refine((text) => Buffer.from(text, 'base64').length === size);

const fileShape = z.strictObject({
  version: z.literal(1),
  /** Where salts of users that are not there come from, so that they look like others, and stay. */
  pepper: bytes(KEY_BYTES),
  users: z.record(
    z.string(),
    z.strictObject({
      salt: bytes(SALT_BYTES),
      iterations: z.int().min(4096),
      storedKey: bytes(KEY_BYTES),
      serverKey: bytes(KEY_BYTES),
      readOnly: z.boolean(),
    }),
  ),
});
type Content = z.infer<typeof fileShape>;

export class SaslUsers {
  private readonly path: string;
  private readonly log: Logger;
  /** Changes one after the other. */
  private queue: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly path: string; readonly log: Logger }) {
    this.path = options.path;
    this.log = options.log;
  }

  /** By name. @throws VirtError file.*, config.invalid */
  list(): SaslUser[] {
    const users = Object.entries(this.read()?.users ?? {});
    return users
      .map(([name, { readOnly }]) => ({ name, readOnly }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  find(name: string): SaslUser | undefined {
    return this.list().find((user) => user.name === name);
  }

  /** Gives a user a password, in place of the one before. @throws VirtError request.*, file.* */
  set(user: SaslUser, password: string): Promise<SaslUser> {
    return this.change(`give user '${user.name}' a password`, async (content) => {
      if (!Object.hasOwn(content.users, user.name) && Object.keys(content.users).length >= MAX_SASL_USERS)
        throw new VirtError('request.too-large', {
          wanted: `add user '${user.name}'`,
          reason: `there are ${MAX_SASL_USERS} users`,
        });
      const keys = await scramKeys(password, randomBytes(SALT_BYTES));
      content.users[user.name] = {
        salt: keys.salt.toString('base64'),
        iterations: keys.iterations,
        storedKey: keys.storedKey.toString('base64'),
        serverKey: keys.serverKey.toString('base64'),
        readOnly: user.readOnly,
      };
      return user;
    });
  }

  /** Clients that are in stay until they go. @throws VirtError sasl-user.not-found, file.* */
  remove(name: string): Promise<SaslUser> {
    return this.change(`remove user '${name}'`, async (content) => {
      const found = Object.hasOwn(content.users, name) ? content.users[name] : undefined;
      if (found === undefined)
        throw new VirtError('sasl-user.not-found', {
          wanted: `remove user '${name}'`,
          reason: 'there is no such user',
          hint: "'vireo host sasl-user list' names them",
        });
      delete content.users[name];
      return { name, readOnly: found.readOnly };
    });
  }

  /**
   * A look at the users as they are now: keys by name. A name that is not there has keys that no password fits, and a salt
   * that is always the same, so that nobody can tell.
   * @throws VirtError file.*, config.invalid
   */
  lookup(): (name: string) => ScramKeys {
    const content = this.read();
    const pepper = Buffer.from(content?.pepper ?? randomBytes(KEY_BYTES).toString('base64'), 'base64');
    return (name) => {
      const nobody = {
        salt: derived(pepper, `salt ${name}`).subarray(0, SALT_BYTES),
        iterations: ITERATIONS,
        storedKey: derived(pepper, `stored ${name}`),
        serverKey: derived(pepper, `server ${name}`),
      };
      const found =
        content !== undefined && Object.hasOwn(content.users, name) ? content.users[name] : undefined;
      if (found === undefined) return nobody;
      const { salt, iterations, storedKey, serverKey } = found;
      const decoded = (text: string) => Buffer.from(text, 'base64');
      return {
        salt: decoded(salt),
        iterations,
        storedKey: decoded(storedKey),
        serverKey: decoded(serverKey),
      };
    };
  }

  private change<T>(wanted: string, work: (content: Content) => Promise<T>): Promise<T> {
    const done = this.queue.then(async () => {
      const content = this.read() ?? {
        version: 1 as const,
        pepper: randomBytes(KEY_BYTES).toString('base64'),
        users: {},
      };
      const result = await work(content);
      await writeDurable(this.path, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600 });
      this.log.info({ path: this.path }, wanted);
      return result;
    });
    this.queue = done.catch(() => undefined);
    return done;
  }

  /** Undefined when there is no file yet. */
  private read(): Content | undefined {
    try {
      const mode = statSync(this.path).mode & 0o777;
      if ((mode & 0o077) !== 0)
        throw new VirtError('config.invalid', {
          wanted: 'read the users of SASL',
          reason: `${this.path} can be read by others (mode ${mode.toString(8)})`,
          hint: `chmod 600 ${this.path}, and give them new passwords`,
        });
      return fileShape.parse(JSON.parse(readFileSync(this.path, 'utf8')));
    } catch (error) {
      if (error instanceof VirtError) throw error;
      if (errnoOf(error) === 'ENOENT') return undefined;
      if (errnoOf(error) !== undefined) throw fileError(error, 'read the users of SASL', this.path);
      throw new VirtError('config.invalid', {
        wanted: 'read the users of SASL',
        reason: `${this.path} is not what this daemon writes`,
        hint: 'move it away, and add the users again',
        cause: error,
      });
    }
  }
}

const derived = (pepper: Buffer, text: string): Buffer => createHmac('sha256', pepper).update(text).digest();
