/** Signs of life of one client: pings when it has been silent, and the end when it stays silent. */

/** Without traffic for so long a ping is sent, and without an answer to so many of them the client is dead (libvirt's own). */
const INTERVAL_MS = 5000;
const MAX_UNANSWERED = 5;

export interface KeepaliveOptions {
  readonly sendPing: () => void;
  readonly onDead: () => void;
  /** True while we read nothing ourselves: then silence is our own doing. */
  readonly isDeaf: () => boolean;
}

export class Keepalive {
  private readonly options: KeepaliveOptions;
  private readonly timer: NodeJS.Timeout;
  private wasHeard = false;
  private unanswered = 0;

  constructor(options: KeepaliveOptions) {
    this.options = options;
    this.timer = setInterval(() => this.look(), INTERVAL_MS).unref();
  }

  /** Any message counts. */
  heard(): void {
    this.wasHeard = true;
    this.unanswered = 0;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    if (this.wasHeard || this.options.isDeaf()) {
      this.wasHeard = false;
      return;
    }
    if (this.unanswered === MAX_UNANSWERED) {
      this.stop();
      this.options.onDead();
      return;
    }
    this.unanswered++;
    this.options.sendPing();
  }
}
