/** Ends a session daemon that nobody needs: no clients and no guests for a while. No timer runs while it is needed. */

export interface IdleExitOptions {
  /** Undefined: never. */
  readonly delayMs: number | undefined;
  readonly isBusy: () => boolean;
  readonly onIdle: () => void;
}

export class IdleExit {
  private readonly options: IdleExitOptions;
  private timer: NodeJS.Timeout | undefined;

  constructor(options: IdleExitOptions) {
    this.options = options;
  }

  /** To be called whenever a client or a guest came or went. */
  look(): void {
    this.stop();
    const { delayMs, isBusy, onIdle } = this.options;
    if (delayMs === undefined || isBusy()) return;
    this.timer = setTimeout(() => {
      if (!isBusy()) onIdle();
    }, delayMs);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
