/** Whether an SSH server answers: a TCP connection that shows its banner (RFC 4253, 4.2). Nothing is sent. */
import { connect } from 'node:net';

const BANNER = 'SSH-';
/** Lines that a server may put before its banner are few and short. */
const MAX_BYTES = 8192;

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** True when the banner came within `limitMs`. Whatever goes wrong means no. */
export function answersSsh(
  { address, port }: Endpoint,
  options: { readonly limitMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let seen = '';
    const settle = (answer: boolean) => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(answer);
    };
    const onAbort = () => settle(false);
    const timer = setTimeout(onAbort, options.limitMs);
    options.signal.addEventListener('abort', onAbort, { once: true });
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      seen += text;
      if (seen.split('\n').some((line) => line.startsWith(BANNER))) settle(true);
      else if (seen.length > MAX_BYTES) settle(false);
    });
    socket.on('error', () => settle(false));
    socket.on('close', () => settle(false));
    if (options.signal.aborted) onAbort();
  });
}
