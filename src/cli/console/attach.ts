/** Joins the user's input and output with a guest's console until one side ends. */
import type { Duplex } from 'node:stream';
import { ENTER_ALTERNATE, enterRawMode, type Input, LEAVE_ALTERNATE } from './terminal.ts';

/** Ctrl-], what telnet and virsh use. */
export const ESCAPE_BYTE = 0x1d;

/** Why a console session ended: the user left, the guest's side closed, the input ended, or it was aborted. */
export type ConsoleEnd = 'left' | 'closed' | 'input-ended' | 'aborted';

export interface AttachOptions {
  readonly stream: Duplex;
  readonly input: Input;
  readonly output: NodeJS.WritableStream & { isTTY?: boolean };
  /** How long to go on showing output after a pipe's end; undefined: until the guest's side closes. */
  readonly lingerMs?: number | undefined;
  readonly signal?: AbortSignal;
}

/** Bytes up to the escape byte, and whether it was there. Only a terminal has an escape: a pipe's bytes are data. */
export function untilEscape(chunk: Buffer): { readonly data: Buffer; readonly isEscape: boolean } {
  const at = chunk.indexOf(ESCAPE_BYTE);
  return at === -1 ? { data: chunk, isEscape: false } : { data: chunk.subarray(0, at), isEscape: true };
}

/**
 * Pumps bytes both ways with back-pressure. Resolves with the reason of the end; the terminal is itself again by then,
 * and the stream is destroyed. Rejects when the stream breaks.
 */
export async function attachConsole(options: AttachOptions): Promise<ConsoleEnd> {
  const { stream, input, output } = options;
  const screen = new ScreenWatch();
  const terminal = enterRawMode(input, output, { isAlternate: () => screen.isAlternate });
  const release: (() => void)[] = [];
  try {
    return await new Promise<ConsoleEnd>((resolve, reject) => {
      release.push(
        pumpOutput(stream, output, { screen, resolve, reject }),
        pumpInput({ ...options, resolve }),
        onAbort(options.signal, () => resolve('aborted')),
      );
    });
  } finally {
    for (const undo of release) undo();
    terminal.restore();
    stream.destroy();
  }
}

interface OutputEnd {
  readonly screen: ScreenWatch;
  readonly resolve: (end: ConsoleEnd) => void;
  readonly reject: (error: unknown) => void;
}

function pumpOutput(stream: Duplex, output: NodeJS.WritableStream, end: OutputEnd): () => void {
  const onData = (chunk: Buffer) => {
    end.screen.see(chunk);
    if (!output.write(chunk)) {
      stream.pause();
      output.once('drain', () => stream.resume());
    }
  };
  const onEnd = () => end.resolve('closed');
  stream.on('data', onData);
  stream.once('end', onEnd);
  stream.once('close', onEnd);
  // Stays on after the end: a reset of a connection that we leave is no news.
  stream.on('error', end.reject);
  // `vireo console web | head`: the reader went away.
  const onOutputError = () => end.resolve('left');
  output.once('error', onOutputError);
  return () => {
    stream.off('data', onData);
    output.off('error', onOutputError);
  };
}

function pumpInput(options: AttachOptions & { readonly resolve: (end: ConsoleEnd) => void }): () => void {
  const { stream, input, resolve } = options;
  let timer: NodeJS.Timeout | undefined;
  const onData = (chunk: Buffer | string) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    const { data, isEscape } = input.isTTY === true ? untilEscape(bytes) : { data: bytes, isEscape: false };
    if (data.length > 0 && !stream.write(data)) {
      input.pause();
      stream.once('drain', () => input.resume());
    }
    if (isEscape) resolve('left');
  };
  const onEnd = () => {
    // A closed terminal has nobody to show output to; a pipe's user waits for the answer.
    if (input.isTTY === true) resolve('left');
    else if (options.lingerMs !== undefined)
      timer = setTimeout(() => resolve('input-ended'), options.lingerMs);
  };
  input.on('data', onData);
  input.once('end', onEnd);
  input.once('error', onEnd);
  input.resume();
  return () => {
    clearTimeout(timer);
    input.off('data', onData);
    input.off('end', onEnd);
    input.off('error', onEnd);
    input.pause();
    // An open standard input must not keep the program alive.
    input.unref?.();
  };
}

function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal?.aborted === true) listener();
  signal?.addEventListener('abort', listener);
  return () => signal?.removeEventListener('abort', listener);
}

/** Remembers whether the guest switched the terminal to its alternate screen. */
class ScreenWatch {
  isAlternate = false;
  #rest = '';

  see(chunk: Buffer): void {
    const text = this.#rest + chunk.toString('latin1');
    const entered = text.lastIndexOf(ENTER_ALTERNATE);
    const left = text.lastIndexOf(LEAVE_ALTERNATE);
    if (entered !== left) this.isAlternate = entered > left;
    this.#rest = text.slice(1 - ENTER_ALTERNATE.length);
  }
}
