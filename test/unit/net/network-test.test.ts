/** What the network test says on the wire, and what it reads of rules. */
import { describe, expect, it } from 'vitest';
import { decodeDhcp, encodeDhcp } from '../../../src/net/test/dhcp-message.ts';
import { decodeAnswer, encodeQuestion } from '../../../src/net/test/dns-message.ts';
import {
  checksum,
  decodeFrame,
  decodeIcmp,
  decodeTcp,
  decodeUdp,
  echoPacket,
  encodeArp,
  encodeIp,
  linkLocalOf,
  neighbourAdvertisement,
  neighbourTarget,
  solicitedNode,
  TCP,
  tcpPacket,
  udpPacket,
} from '../../../src/net/test/frames.ts';
import { iptablesCount, nftCounters } from '../../../src/net/test/rule-counters.ts';
import { natPlan } from '../../support/net-lab/lab.ts';

const link = { from: '52:54:00:00:00:01', to: '52:54:00:00:00:02' };
const four = { source: '10.0.0.1', destination: '10.0.0.2' };
const six = { source: 'fe80::1', destination: 'ff02::2' };

/** The frame as another host would read it. */
function sent(packet: Parameters<typeof encodeIp>[1]) {
  const frame = decodeFrame(encodeIp(link, packet));
  if (frame?.kind !== 'ip') throw new Error('no IP frame');
  return frame;
}

describe('frames', () => {
  it('come back as they were', () => {
    const udp = { sourcePort: 68, destinationPort: 67, data: Buffer.from('x') };
    expect(sent(udpPacket(four, udp))).toMatchObject({ ...link, ...four, protocol: 17 });
    expect(decodeUdp(sent(udpPacket(four, udp)))).toEqual(udp);
    const segment = {
      sourcePort: 7,
      destinationPort: 9,
      sequence: 1,
      acknowledgement: 0xffff_ffff,
      flags: TCP.syn,
    };
    expect(decodeTcp(sent(tcpPacket(four, segment)))).toEqual(segment);
    expect(decodeIcmp(sent(echoPacket(four, 5, 1)))).toEqual({ type: 8, code: 0, id: 5 });
    expect(decodeIcmp(sent(echoPacket(six, 5, 1)))).toEqual({ type: 128, code: 0, id: 5 });
    expect(neighbourTarget(sent(neighbourAdvertisement(six, 'fe80::1', link.from)))).toBe('fe80::1');
    const arp = {
      operation: 'request',
      senderMac: link.from,
      senderIp: '10.0.0.1',
      targetIp: '10.0.0.2',
    } as const;
    expect(decodeFrame(encodeArp(link, { ...arp, targetMac: '00:00:00:00:00:00' }))).toEqual({
      ...link,
      kind: 'arp',
      ...arp,
    });
  });

  it('have the checksums of RFC 1071', () => {
    // The example of RFC 1071, section 3.
    expect(checksum(Buffer.from('0001f203f4f5f6f7', 'hex'))).toBe(0x220d);
    const frame = encodeIp(link, echoPacket(four, 5, 1));
    expect(checksum(frame.subarray(14, 34))).toBe(0);
    expect(checksum(frame.subarray(34))).toBe(0);
  });

  it('of no interest, or broken at any place, are nothing', () => {
    const whole = encodeIp(
      link,
      udpPacket(four, { sourcePort: 1, destinationPort: 2, data: Buffer.alloc(3) }),
    );
    for (let length = 0; length < whole.length; length++) {
      const frame = decodeFrame(whole.subarray(0, length));
      if (frame?.kind === 'ip') expect(decodeUdp(frame)?.data.length ?? 0).toBeLessThan(3);
    }
    expect(decodeFrame(Buffer.alloc(60))).toBeUndefined();
  });

  it('know addresses that follow from others', () => {
    expect(linkLocalOf('52:54:00:12:34:56')).toBe('fe80::5054:ff:fe12:3456');
    expect(solicitedNode('fd00:150::1')).toEqual({ address: 'ff02::1:ff00:1', mac: '33:33:ff:00:00:01' });
  });
});

describe('DHCP', () => {
  it('asks with the name and address, long enough for old servers', () => {
    const request = {
      kind: 'request',
      transaction: 7,
      mac: link.from,
      hostName: 'vireo-test',
      address: '10.0.0.9',
      server: '10.0.0.1',
    } as const;
    const message = encodeDhcp(request);
    expect(message.length).toBeGreaterThanOrEqual(300);
    expect(message.readUInt16BE(10)).toBe(0x8000);
    expect(message.includes(Buffer.from([50, 4, 10, 0, 0, 9]))).toBe(true);
    expect(message.includes(Buffer.from([54, 4, 10, 0, 0, 1]))).toBe(true);
    expect(message.includes('vireo-test')).toBe(true);
    // A client's message is no answer.
    expect(decodeDhcp(message)).toBeUndefined();
    expect([...encodeDhcp({ ...request, kind: 'release' }).subarray(10, 16)]).toEqual([0, 0, 10, 0, 0, 9]);
  });

  it('reads an answer, and whatever part of one arrives', () => {
    const head = Buffer.alloc(240);
    head[0] = 2;
    head.writeUInt32BE(7, 4);
    head.set([10, 0, 0, 9], 16);
    head.writeUInt32BE(0x63825363, 236);
    const options =
      '350105' +
      '36040a000001' +
      '0104ffffff00' +
      '03040a000001' +
      '06080a0000010a000002' +
      '00' +
      '0f03612e62' +
      '330400000e10' +
      'ff';
    const message = Buffer.concat([head, Buffer.from(options, 'hex')]);
    expect(decodeDhcp(message)).toEqual({
      kind: 'ack',
      transaction: 7,
      address: '10.0.0.9',
      server: '10.0.0.1',
      mask: '255.255.255.0',
      router: '10.0.0.1',
      dns: ['10.0.0.1', '10.0.0.2'],
      domain: 'a.b',
      leaseSeconds: 3600,
    });
    for (let length = 0; length < message.length; length++) decodeDhcp(message.subarray(0, length));
  });
});

describe('DNS', () => {
  it('asks for an address, and follows pointers in the answer', () => {
    const question = encodeQuestion(0x1234, 'a.test');
    expect(question.toString('hex')).toBe('1234010000010000000000000161047465737400'.concat('00010001'));
    const answer = Buffer.concat([
      Buffer.from('123481800001000200000000016104746573740000010001', 'hex'),
      // An alias first, then the address.
      Buffer.from('c00c000500010000003c0002c00c', 'hex'),
      Buffer.from('c00c000100010000003c00040a000009', 'hex'),
    ]);
    expect(decodeAnswer(answer)).toEqual({ id: 0x1234, code: 'NOERROR', addresses: ['10.0.0.9'] });
    expect(decodeAnswer(question)).toBeUndefined();
    for (let length = 0; length < answer.length; length++) decodeAnswer(answer.subarray(0, length));
    const refused = Buffer.from(question);
    refused.set([0x81, 0x85], 2);
    expect(decodeAnswer(refused)).toMatchObject({ code: 'REFUSED', addresses: [] });
  });
});

describe("the rules' counters", () => {
  it('are summed by bridge and kind from nft', () => {
    const listing = `table ip libvirt_network {
	chain guest_output {
		ip saddr 192.168.150.0/24 iifname "virbr0" counter packets 5 bytes 420 accept comment "vireo:virbr0:aa"
		iifname "virbr0" counter packets 9 bytes 1 reject comment "vireo:virbr0:bb"
		ip saddr 192.168.160.0/24 iifname "virbr1" counter packets 70 bytes 420 accept comment "vireo:virbr1:aa"
	}
	chain guest_nat {
		ip saddr 192.168.150.0/24 ip daddr 224.0.0.0/24 counter packets 2 bytes 2 return comment "vireo:virbr0:cc"
		meta l4proto tcp ip saddr 192.168.150.0/24 counter packets 1 bytes 60 masquerade to :1024-65535 comment "vireo:virbr0:dd"
		ip saddr 192.168.150.0/24 counter packets 3 bytes 60 masquerade comment "vireo:virbr0:ee"
	}
}`;
    expect(nftCounters(listing, 'virbr0')).toEqual({ forwarded: 5, translated: 4 });
  });

  it('are summed by source from iptables', () => {
    const listing = `Chain LIBVIRT_PRT (1 references)
    pkts      bytes target     prot opt in     out     source               destination
       7      420 RETURN     all  --  *      *       192.168.150.0/24     224.0.0.0/24
       2      120 MASQUERADE  tcp  --  *      *       192.168.150.0/24    !192.168.150.0/24    masq ports: 1024-65535
       1       84 MASQUERADE  all  --  *      *       192.168.150.0/24    !192.168.150.0/24
       9       84 MASQUERADE  all  --  *      *       192.168.160.0/24    !192.168.160.0/24`;
    expect(iptablesCount(listing, natPlan, ['MASQUERADE', 'SNAT'])).toBe(3);
  });
});
