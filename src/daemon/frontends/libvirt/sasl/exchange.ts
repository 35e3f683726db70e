/** One client of another host that shows who it is by SASL: INIT, START and STEP in that order, once. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../../../base/log.ts';
import { SCRAM_MECHANISM, ScramConversation, ScramError } from '../../../../base/scram.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { SaslUser, SaslUsers } from '../../../services/sasl-users.ts';
import type { Failures } from './failures.ts';

/** A guess takes that long, whatever was wrong with it. */
const FAILURE_DELAY_MS = 1000;
const NONCE_BYTES = 24;
/** How much of a name goes into the log. */
const MAX_LOGGED = 64;

export interface SaslParts {
  readonly users: SaslUsers;
  readonly failures: Failures;
  readonly address: string;
  readonly log: Logger;
  /** Called once, when the client has proved who it is. */
  readonly onUser: (user: SaslUser) => void;
}

/** What goes back to the client. */
export interface SaslAnswer {
  readonly complete: boolean;
  readonly data: Buffer;
}

export class SaslExchange {
  private readonly parts: SaslParts;
  private state: 'new' | 'offered' | 'first' | 'final' | 'over' = 'new';
  private conversation: ScramConversation | undefined;

  constructor(parts: SaslParts) {
    this.parts = parts;
  }

  /** What we can do, in words between spaces. @throws LibvirtError */
  init(): string {
    if (this.state !== 'new') throw denied();
    this.state = 'offered';
    return SCRAM_MECHANISM;
  }

  /** @throws LibvirtError authentication failed, whatever was wrong */
  async start(mechanism: string, data: Buffer | undefined): Promise<SaslAnswer> {
    if (this.state !== 'offered') return this.fail(`START in state '${this.state}'`);
    if (mechanism !== SCRAM_MECHANISM) return this.fail('another mechanism than the one that is offered');
    const { users, failures, address } = this.parts;
    if (failures.isShut(address)) return this.fail('this address has failed too often');
    try {
      const keys = users.lookup();
      this.conversation = new ScramConversation(
        (name) => keys(name),
        randomBytes(NONCE_BYTES).toString('base64'),
      );
    } catch (error) {
      this.parts.log.error({ err: error }, 'the users of SASL cannot be read');
      return this.fail('there are no users');
    }
    this.state = 'first';
    // A client without a first word is asked for it (RFC 4422, section 3).
    if (data === undefined) return { complete: false, data: Buffer.alloc(0) };
    return this.step(data);
  }

  /** @throws LibvirtError authentication failed, whatever was wrong */
  async step(data: Buffer | undefined): Promise<SaslAnswer> {
    const { conversation, state } = this;
    if (conversation === undefined || data === undefined) return this.fail(`STEP in state '${state}'`);
    try {
      if (state === 'first') {
        const answer = conversation.first(data);
        this.state = 'final';
        return { complete: false, data: answer };
      }
      if (state !== 'final') return await this.fail(`STEP in state '${state}'`);
      const answer = conversation.final(data);
      return this.finish(conversation.user ?? '', answer);
    } catch (error) {
      if (!(error instanceof ScramError)) throw error;
      return this.fail(error.message);
    }
  }

  private finish(name: string, data: Buffer): SaslAnswer | Promise<never> {
    const { users, address, log, onUser } = this.parts;
    const user = users.find(name);
    if (user === undefined) return this.fail('the user was removed meanwhile');
    this.state = 'over';
    this.conversation = undefined;
    log.info({ address, user: user.name, readOnly: user.readOnly }, 'SASL lets a client in');
    onUser(user);
    return { complete: true, data };
  }

  /** The same words after the same time, so that a client learns nothing of what was wrong. */
  private async fail(reason: string): Promise<never> {
    const { failures, address, log } = this.parts;
    const user = this.conversation?.user?.slice(0, MAX_LOGGED);
    this.state = 'over';
    this.conversation = undefined;
    failures.note(address);
    log.warn({ address, reason, ...(user !== undefined && { user }) }, 'SASL refused a client');
    await sleep(FAILURE_DELAY_MS);
    throw denied();
  }
}

const denied = (): LibvirtError =>
  new LibvirtError(errorNumber.authFailed, 'authentication failed', errorDomain.rpc);
