/** The user's terminal in raw mode, given back as it was on every way out of the program. */

/** A standard input: a terminal, a pipe or a file. */
export interface Input extends NodeJS.ReadableStream {
  readonly isTTY?: boolean;
  /** Terminals only. */
  setRawMode?(isRaw: boolean): unknown;
  /** Lets the program end while the stream is open; terminals and sockets have it. */
  unref?(): unknown;
}

/**
 * What a guest may have left switched on: DECSTR (soft reset: colours, cursor, wrapping, margins), bracketed paste and
 * mouse reports (xterm's ctlseqs, DEC private modes). The alternate screen is left separately, only when the guest
 * entered it, since leaving moves the cursor.
 */
const CALM = '\u001b[!p\u001b[?2004l\u001b[?1000l\u001b[?1002l\u001b[?1003l\u001b[?1006l';
export const ENTER_ALTERNATE = '\u001b[?1049h';
export const LEAVE_ALTERNATE = '\u001b[?1049l';

export interface RawTerminal {
  /** Gives the terminal back; idempotent. */
  restore(): void;
}

/**
 * Puts the terminal into raw mode: keys go to the guest one by one, Ctrl-C too. It is given back by `restore`, and by
 * itself when the process exits or an error ends it; signals are the caller's (interrupt.ts). Does nothing for a pipe.
 */
export function enterRawMode(
  input: Input,
  output: NodeJS.WritableStream & { isTTY?: boolean },
  options: { readonly isAlternate: () => boolean },
): RawTerminal {
  if (input.isTTY !== true || input.setRawMode === undefined) return { restore: () => undefined };
  let isRaw = true;
  input.setRawMode(true);
  const restore = () => {
    if (!isRaw) return;
    isRaw = false;
    input.setRawMode?.(false);
    if (output.isTTY === true) output.write((options.isAlternate() ? LEAVE_ALTERNATE : '') + CALM);
    process.off('exit', restore);
    process.off('SIGCONT', again);
  };
  // After a stop and `fg` the shell has set its own mode.
  const again = () => {
    input.setRawMode?.(false);
    input.setRawMode?.(true);
  };
  process.on('exit', restore);
  process.on('SIGCONT', again);
  return { restore };
}
