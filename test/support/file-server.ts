/** A web server on the loopback for tests of downloads: files from memory, ranges, and whatever goes wrong. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Hit {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
}

export class FileServer {
  /** By path; a change changes the ETag too. */
  readonly files = new Map<string, Buffer>();
  /** What is answered instead, once for each entry, first come first served. */
  readonly tricks = new Map<string, ((request: IncomingMessage, response: ServerResponse) => void)[]>();
  readonly hits: Hit[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(): Promise<FileServer> {
    const server = createServer((request, response) => self.answer(request, response));
    const self: FileServer = new FileServer(server);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return self;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  /** A directory page as Apache and nginx make them. */
  list(directory: string, names: readonly string[]): void {
    const rows = names.map((name) => `<a href="${name}">${name}</a>\n`).join('');
    this.files.set(directory, Buffer.from(`<html><body><a href="../">../</a>\n${rows}</body></html>`));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '/';
    this.hits.push({ method: request.method ?? '', path, range: request.headers.range });
    const trick = this.tricks.get(path)?.shift();
    if (trick) return trick(request, response);
    const body = this.files.get(path);
    if (body === undefined) return void response.writeHead(404).end('no such file');
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    if (range === undefined || request.headers['if-range'] !== etag)
      return void response.writeHead(200, { etag, 'content-length': body.length }).end(body);
    const from = Number(range);
    const headers = { etag, 'content-range': `bytes ${from}-${body.length - 1}/${body.length}` };
    response.writeHead(206, headers).end(body.subarray(from));
  }
}

/** Sends the head and so many bytes of a file, then breaks the connection. */
export function breakAfter(body: Buffer, bytes: number, headers: Record<string, string> = {}) {
  return (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(200, { 'content-length': body.length, ...headers });
    response.write(body.subarray(0, bytes), () => setTimeout(() => response.destroy(), 20));
  };
}
