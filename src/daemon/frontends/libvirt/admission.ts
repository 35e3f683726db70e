/** Who a client is, where it has to say so before it may do anything: an authority is asked, or it shows itself by SASL. */
import type { ConnectionOptions } from './connection.ts';
import { SaslExchange } from './sasl/exchange.ts';

/** How long a client may be there without having said who it is. */
const STRANGER_MS = 60_000;

type Ways = Pick<ConnectionOptions, 'authenticate' | 'sasl' | 'remote' | 'log'>;

interface Listeners {
  /** It is somebody who may only look. */
  readonly onReader: () => void;
  /** It has been there too long without having said who it is. */
  readonly onStranger: () => void;
}

export class Admission {
  /** Undefined where it is not asked for. */
  readonly sasl: SaslExchange | undefined;
  private readonly authority: (() => Promise<void>) | undefined;
  private readonly listeners: Listeners;
  private isIn: boolean;
  private strangerTimer: NodeJS.Timeout | undefined;
  private asking: Promise<void> | undefined;

  constructor(ways: Ways, listeners: Listeners) {
    this.listeners = listeners;
    this.authority = ways.authenticate;
    this.sasl = this.exchangeFor(ways);
    this.isIn = this.authority === undefined && this.sasl === undefined;
    if (!this.isIn) this.watch();
  }

  /** True until the client has shown who it is. */
  get isPending(): boolean {
    return !this.isIn;
  }

  /** Asks the authority, once at a time. @throws LibvirtError */
  ask(): Promise<void> {
    this.asking ??= this.askAuthority().finally(() => {
      this.asking = undefined;
    });
    return this.asking;
  }

  /** Watches no longer; for a client that has gone. */
  stop(): void {
    clearTimeout(this.strangerTimer);
  }

  private async askAuthority(): Promise<void> {
    if (this.authority === undefined) throw new Error('there is no authority to ask');
    await this.authority();
    this.letIn();
  }

  private letIn(): void {
    this.isIn = true;
    this.stop();
  }

  private exchangeFor({ sasl, remote, log }: Ways): SaslExchange | undefined {
    if (sasl === undefined) return undefined;
    return new SaslExchange({
      ...sasl,
      address: remote?.address ?? '',
      log,
      onUser: ({ readOnly }) => {
        if (readOnly) this.listeners.onReader();
        this.letIn();
      },
    });
  }

  /** Whoever does not say who they are must not keep a place; one that is being asked may take their time. */
  private watch(): void {
    this.strangerTimer = setTimeout(() => {
      if (this.asking === undefined) this.listeners.onStranger();
      else this.watch();
    }, STRANGER_MS).unref();
  }
}
