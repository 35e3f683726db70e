/** The kernel's socket tables, and what of them is in the way of a port forward. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findListeners, parseSockets } from '../../../src/net/listeners.ts';

const head =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (local: string, state: string, inode: number) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000 100 0 0 10 0\n`;

describe('parseSockets', () => {
  it('reads listening sockets, and leaves connections out', () => {
    const text = `${head}${line('0100007F:1F90', '0A', 11)}${line('00000000:0016', '0A', 12)}${line('0100007F:1F91', '01', 13)}`;
    expect(parseSockets(text, 'tcp', 4)).toEqual([
      { family: 4, address: '127.0.0.1', port: 8080, inode: '11' },
      { family: 4, address: '0.0.0.0', port: 22, inode: '12' },
    ]);
  });

  it('reads IPv6, and IPv4 in its form', () => {
    const text = `${head}${line('B80D0120000000000000000001000000:0035', '07', 1)}${line('0000000000000000FFFF00000100007F:0035', '07', 2)}`;
    expect(parseSockets(text, 'udp', 6).map(({ address }) => address)).toEqual(['2001:db8::1', '127.0.0.1']);
  });

  it('leaves out what is no line of the table', () => {
    expect(parseSockets(`${head}\n garbage\n   0: 00:00 x 0A\n`, 'tcp', 4)).toEqual([]);
  });
});

describe('findListeners', () => {
  const at = (protocol: 'tcp' | 'udp', port: number, hostAddress?: string) =>
    findListeners({
      protocol,
      family: 4,
      ...(hostAddress !== undefined && { hostAddress }),
      firstPort: port,
      lastPort: port,
    });

  it('finds a server of this host with its process, on its own address and on all', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    for (const address of [undefined, '127.0.0.1'])
      expect(at('tcp', port, address)).toMatchObject([{ address: '127.0.0.1', port, pid: process.pid }]);
    expect(at('tcp', port, '127.0.0.2')).toEqual([]);
    expect(at('udp', port)).toEqual([]);
  });

  it('finds a UDP server on all addresses of both families', async () => {
    const socket = createSocket({ type: 'udp6' }).bind(0, '::');
    onTestFinished(() => void socket.close());
    await once(socket, 'listening');
    const { port } = socket.address();
    expect(at('udp', port, '192.0.2.1')).toMatchObject([{ address: '::', port }]);
  });
});
