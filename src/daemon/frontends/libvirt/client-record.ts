/** What a client called: one line of the log when it goes, on level `debug`, for whoever wants to know what programs do. */
import { readFileSync } from 'node:fs';
import type { Logger } from '../../../base/log.ts';

/** Calls that were answered to one client, each once. */
export class ClientRecord {
  private readonly log: Logger;
  private readonly program: string;
  private readonly answered = new Set<string>();

  /** `pid` is the client's; its program is looked up at once, as many clients are gone when their last call is answered. */
  constructor(log: Logger, pid: number) {
    this.log = log;
    this.program = programOf(pid);
  }

  note(procedure: string): void {
    this.answered.add(procedure);
  }

  tell(): void {
    this.log.debug({ program: this.program, answered: [...this.answered] }, 'a client has gone');
  }
}

/** The program's name as the kernel keeps it (proc(5), comm), '' when it is gone or another host's. */
function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
