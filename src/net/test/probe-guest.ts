/**
 * A guest that is made of nothing but a tap: it speaks Ethernet from this process, and is gone with its descriptor, even
 * when the daemon is killed. It answers ARP and neighbour solicitations, and takes TCP connections on one port.
 */
import { readSync, writeSync } from 'node:fs';
import { errnoOf, VirtError } from '../../base/errors.ts';
import {
  ANY_ADDRESS,
  BROADCAST_MAC,
  decodeFrame,
  decodeIcmp,
  decodeTcp,
  echoPacket,
  encodeArp,
  encodeIp,
  type Frame,
  linkLocalOf,
  neighbourAdvertisement,
  neighbourSolicitation,
  neighbourTarget,
  type Packet,
  solicitedNode,
  TCP,
  tcpPacket,
} from './frames.ts';

/** struct virtio_net_hdr (linux/virtio_net.h) stands before each frame; all zero means: nothing special. */
const VNET_HEADER_BYTES = 10;
const MAX_FRAME_BYTES = 65_536;
const LOOK_EVERY_MS = 2;
/** A bridge that is asked for much gives up sooner than this. */
const MAX_FRAMES_A_LOOK = 256;

type Listener = (frame: Frame) => void;

export class ProbeGuest {
  readonly mac: string;
  /** The address that it has, and answers for. */
  address: string | undefined;
  /** The port on which it takes connections. */
  readonly port = 7;
  private readonly fd: number;
  private readonly signal: AbortSignal;
  private readonly buffer = Buffer.alloc(MAX_FRAME_BYTES);
  private readonly listeners = new Set<Listener>();
  private readonly timer: NodeJS.Timeout;

  /** Reads from the tap until `close`; the descriptor stays its caller's. */
  constructor(fd: number, mac: string, signal: AbortSignal) {
    this.fd = fd;
    this.mac = mac;
    this.signal = signal;
    this.timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  get linkLocal(): string {
    return linkLocalOf(this.mac);
  }

  close(): void {
    clearInterval(this.timer);
    this.listeners.clear();
  }

  send(frame: Buffer): void {
    writeSync(this.fd, Buffer.concat([Buffer.alloc(VNET_HEADER_BYTES), frame]));
  }

  sendTo(mac: string, packet: Packet): void {
    this.send(encodeIp({ from: this.mac, to: mac }, packet));
  }

  /**
   * Sends something and waits for the frame that is its answer, sending again twice; undefined when none comes.
   * @throws VirtError operation.aborted
   */
  async ask<Answer>(
    send: () => void,
    read: (frame: Frame) => Answer | undefined,
    eachMs = 1000,
    attempts = 3,
  ): Promise<Answer | undefined> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const answer = this.wait(read, eachMs);
      send();
      const found = await answer;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private wait<Answer>(
    read: (frame: Frame) => Answer | undefined,
    limitMs: number,
  ): Promise<Answer | undefined> {
    return new Promise((settle, fail) => {
      const done = (answer: Answer | undefined) => {
        leave();
        settle(answer);
      };
      const abort = () => {
        leave();
        fail(new VirtError('operation.aborted', { wanted: 'test a network', reason: 'cancelled' }));
      };
      const listener: Listener = (frame) => {
        const answer = read(frame);
        if (answer !== undefined) done(answer);
      };
      const timer = setTimeout(() => done(undefined), limitMs);
      const leave = () => {
        clearTimeout(timer);
        this.listeners.delete(listener);
        this.signal.removeEventListener('abort', abort);
      };
      if (this.signal.aborted) return abort();
      this.signal.addEventListener('abort', abort, { once: true });
      this.listeners.add(listener);
    });
  }

  /** The MAC address that an IPv4 address has on this network. */
  arp(address: string): Promise<string | undefined> {
    const own = this.address ?? ANY_ADDRESS;
    const request = encodeArp(
      { from: this.mac, to: BROADCAST_MAC },
      {
        operation: 'request',
        senderMac: this.mac,
        senderIp: own,
        targetMac: '00:00:00:00:00:00',
        targetIp: address,
      },
    );
    return this.ask(
      () => this.send(request),
      (frame) =>
        frame.kind === 'arp' && frame.operation === 'reply' && frame.senderIp === address
          ? frame.senderMac
          : undefined,
    );
  }

  /** The same of IPv6. */
  neighbour(address: string): Promise<string | undefined> {
    const group = solicitedNode(address);
    const packet = neighbourSolicitation(
      { source: this.linkLocal, destination: group.address },
      address,
      this.mac,
    );
    return this.ask(
      () => this.sendTo(group.mac, packet),
      (frame) =>
        frame.kind === 'ip' && decodeIcmp(frame)?.type === 136 && neighbourTarget(frame) === address
          ? frame.from
          : undefined,
    );
  }

  /** Pings by that next hop: `answer`, the error message that came in its place, or undefined for silence. */
  async ping(
    address: string,
    via: string,
    source: string,
    attempts = 3,
  ): Promise<{ readonly from: string; readonly isAnswer: boolean; readonly code: number } | undefined> {
    const id = 1 + Math.floor(Math.random() * 0xfffe);
    const isSix = address.includes(':');
    const [answer, unreachable] = isSix ? [129, 1] : [0, 3];
    let sequence = 0;
    return this.ask(
      () => this.sendTo(via, echoPacket({ source, destination: address }, id, sequence++)),
      (frame) => {
        const icmp = frame.kind === 'ip' ? decodeIcmp(frame) : undefined;
        if (frame.kind !== 'ip' || icmp === undefined || frame.destination !== source) return undefined;
        if (icmp.type === answer && icmp.id === id) return { from: frame.source, isAnswer: true, code: 0 };
        if (icmp.type === unreachable) return { from: frame.source, isAnswer: false, code: icmp.code };
        return undefined;
      },
      1000,
      attempts,
    );
  }

  private look(): void {
    for (let count = 0; count < MAX_FRAMES_A_LOOK; count++) {
      const frame = this.read();
      if (frame === undefined) return;
      const decoded = decodeFrame(frame);
      if (decoded === undefined) continue;
      this.answer(decoded);
      for (const listener of [...this.listeners]) listener(decoded);
    }
  }

  private read(): Buffer | undefined {
    try {
      const length = readSync(this.fd, this.buffer);
      return Buffer.from(this.buffer.subarray(VNET_HEADER_BYTES, Math.max(length, VNET_HEADER_BYTES)));
    } catch (error) {
      // Nothing has come; or the tap is down, because somebody deleted it under us: the steps then tell of silence.
      if (['EAGAIN', 'EIO', 'EBADFD'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }

  /** What a guest's kernel does by itself. */
  private answer(frame: Frame): void {
    if (frame.kind === 'arp') {
      if (frame.operation !== 'request' || frame.targetIp !== this.address) return;
      const reply = {
        senderMac: this.mac,
        senderIp: frame.targetIp,
        targetMac: frame.senderMac,
        targetIp: frame.senderIp,
      };
      this.send(encodeArp({ from: this.mac, to: frame.from }, { operation: 'reply', ...reply }));
      return;
    }
    this.answerNeighbour(frame);
    this.answerConnection(frame);
  }

  private answerNeighbour(frame: Packet & { readonly from: string }): void {
    const target = decodeIcmp(frame)?.type === 135 ? neighbourTarget(frame) : undefined;
    if (target === undefined || target !== this.linkLocal || frame.source === '::') return;
    this.sendTo(
      frame.from,
      neighbourAdvertisement({ source: target, destination: frame.source }, target, this.mac),
    );
  }

  /** Takes a connection, and agrees to its end. */
  private answerConnection(frame: Packet & { readonly from: string }): void {
    const segment = decodeTcp(frame);
    if (segment === undefined || frame.destination !== this.address) return;
    const { sourcePort, destinationPort, sequence, flags } = segment;
    if (destinationPort !== this.port || (flags & (TCP.syn | TCP.fin)) === 0) return;
    const ends = { source: frame.destination, destination: frame.source };
    const isOpening = (flags & TCP.syn) !== 0;
    this.sendTo(
      frame.from,
      tcpPacket(ends, {
        sourcePort: destinationPort,
        destinationPort: sourcePort,
        sequence: isOpening ? 1 : segment.acknowledgement,
        acknowledgement: (sequence + 1) >>> 0,
        flags: isOpening ? TCP.syn | TCP.ack : TCP.rst | TCP.ack,
      }),
    );
  }
}
