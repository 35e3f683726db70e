/** Whole messages with every word of their frame named: length, program, version, procedure, type, serial, status. */
import { describe, expect, it } from 'vitest';
import { encodeMessage, encodeRaw } from '../../../src/daemon/frontends/libvirt/outbox.ts';
import {
  errorBody,
  LENGTH_BYTES,
  type MessageHeader,
  readHeader,
  streamHole,
} from '../../../src/libvirt/protocol/message.ts';
import { remoteProcedures } from '../../../src/libvirt/protocol/programs.ts';
import { qemuProcedures } from '../../../src/libvirt/protocol/qemu.ts';
import { decodeAll, type Xdr } from '../../../src/libvirt/xdr/xdr.ts';

/** Lines of `hex  # what it is`, as one run of bytes. */
const bytesOf = (annotated: string): Buffer =>
  Buffer.from(annotated.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex');

interface Fixture {
  readonly what: string;
  readonly header: MessageHeader;
  readonly codec: unknown;
  readonly value: unknown;
  /** So many descriptors are said to follow. */
  readonly fds?: number;
  readonly annotated: string;
}

const remote = { program: 0x2000_8086, version: 1 };

const fixtures: readonly Fixture[] = [
  {
    what: 'the call CONNECT_OPEN',
    header: { ...remote, procedure: 1, type: 0, serial: 7, status: 0 },
    codec: remoteProcedures.connectOpen.args,
    value: { name: 'qemu:///system', flags: 1 },
    annotated: `00000038                        # length: 56 bytes, this word and all behind it
      20008086                              # program: libvirt's remote calls
      00000001                              # version of the program
      00000001                              # procedure 1: CONNECT_OPEN
      00000000                              # type 0: a call
      00000007                              # serial, counted by the client
      00000000                              # status 0: ok, as in every call
      00000001                              # body: name is there
      0000000e                              # 14 bytes
      71656d753a2f2f2f73797374656d 0000     # qemu:///system, two of padding
      00000001                              # flags: read-only`,
  },
  {
    what: 'the reply to a call without a result',
    header: { ...remote, procedure: 1, type: 1, serial: 7, status: 0 },
    codec: remoteProcedures.connectOpen.ret,
    value: undefined,
    annotated: `0000001c                        # length: 28 bytes, the frame alone
      20008086 00000001 00000001            # program, version, procedure: those of the call
      00000001                              # type 1: a reply
      00000007                              # serial of the call
      00000000                              # status 0: it went well`,
  },
  {
    what: 'the reply that says no',
    header: { ...remote, procedure: 23, type: 1, serial: 8, status: 1 },
    codec: errorBody,
    value: {
      ...{ code: 42, domain: 10, message: 'x', level: 2, dom: null, str1: null, str2: null, str3: null },
      ...{ int1: -1, int2: -1, net: null },
    },
    annotated: `00000050                        # length: 80 bytes
      20008086 00000001                     # program, version
      00000017                              # procedure 23: DOMAIN_LOOKUP_BY_NAME
      00000001                              # type 1: a reply
      00000008                              # serial of the call
      00000001                              # status 1: the body is an error
      0000002a 0000000a                     # body: code 42, domain 10
      00000001 00000001 78000000            # message: x
      00000002                              # level: error
      00000000 00000000 00000000 00000000   # no domain, str1, str2, str3
      ffffffff ffffffff                     # int1, int2
      00000000                              # no network`,
  },
  {
    what: 'an event',
    header: { ...remote, procedure: 318, type: 2, serial: 0, status: 0 },
    codec: remoteProcedures.domainEventCallbackLifecycle.body,
    value: {
      callbackId: 4,
      msg: { dom: { name: 'a', uuid: '00000000-0000-0000-0000-000000000001', id: 7 }, event: 2, detail: 0 },
    },
    annotated: `00000044                        # length: 68 bytes
      20008086 00000001                     # program, version
      0000013e                              # procedure 318: DOMAIN_EVENT_CALLBACK_LIFECYCLE
      00000002                              # type 2: a message that nobody asked for
      00000000                              # serial: none
      00000000                              # status 0
      00000004                              # body: callback
      00000001 61000000                     # name: a
      00000000000000000000000000000001      # uuid
      00000007 00000002 00000000            # id, started, booted`,
  },
  {
    what: "a call of QEMU's own program",
    header: { program: 0x2000_8087, version: 1, procedure: 1, type: 0, serial: 9, status: 0 },
    codec: qemuProcedures.domainMonitorCommand.args,
    value: { dom: { name: 'a', uuid: '00000000-0000-0000-0000-000000000001', id: 7 }, cmd: 'c', flags: 1 },
    annotated: `00000044                        # length: 68 bytes
      20008087                              # program: QEMU's own calls
      00000001                              # version
      00000001                              # procedure 1: DOMAIN_MONITOR_COMMAND
      00000000 00000009 00000000            # type: call; serial; status
      00000001 61000000                     # body: name a
      00000000000000000000000000000001      # uuid
      00000007                              # id
      00000001 63000000                     # command: c
      00000001                              # flags: a command for people`,
  },
  {
    what: 'a reply with a descriptor',
    header: { ...remote, procedure: 343, type: 5, serial: 10, status: 0 },
    codec: remoteProcedures.domainOpenGraphicsFd.ret,
    value: undefined,
    fds: 1,
    annotated: `00000020                        # length: 32 bytes
      20008086 00000001                     # program, version
      00000157                              # procedure 343: DOMAIN_OPEN_GRAPHICS_FD
      00000005                              # type 5: a reply that descriptors follow
      0000000a 00000000                     # serial, status
      00000001                              # so many descriptors, each with a byte of its own behind the message`,
  },
  {
    what: 'a hole of a stream',
    header: { ...remote, procedure: 209, type: 6, serial: 11, status: 2 },
    codec: streamHole,
    value: { length: 1_048_576, flags: 0 },
    annotated: `00000028                        # length: 40 bytes
      20008086 00000001                     # program, version
      000000d1                              # procedure 209: STORAGE_VOL_DOWNLOAD, which opened the stream
      00000006                              # type 6: a hole
      0000000b                              # serial of the call that opened it
      00000002                              # status 2: the stream goes on
      0000000000100000                      # body: 1 MiB of zeros
      00000000                              # flags`,
  },
];

describe('every word of', () => {
  it.each(fixtures)('$what', ({ header, codec, value, fds, annotated }) => {
    const bytes = bytesOf(annotated);
    const message =
      fds === undefined
        ? encodeMessage(header, codec as Xdr<unknown>, value)
        : encodeMessage(header, codec as Xdr<unknown>, value, fds);
    expect(Buffer.from(message).toString('hex')).toBe(bytes.toString('hex'));
    expect(bytes.readUInt32BE(0)).toBe(bytes.length);
    expect(readHeader(bytes, LENGTH_BYTES)).toEqual(header);
    const body = bytes.subarray(fds === undefined ? 28 : 32);
    expect(decodeAll(codec as Xdr<unknown>, body)).toEqual(value);
  });

  it('a sign of life, and a packet of a stream', () => {
    const ping = encodeRaw(
      { program: 0x6b65_6570, version: 1, procedure: 1, type: 2, serial: 0, status: 0 },
      Buffer.alloc(0),
    );
    expect(Buffer.concat(ping).toString('hex')).toBe(
      bytesOf(`0000001c                             # length: 28 bytes
        6b656570                              # program: "keep"
        00000001                              # version
        00000001                              # procedure 1: ping (2: pong)
        00000002 00000000 00000000            # type: a message; no serial; status`).toString('hex'),
    );
    const packet = encodeRaw(
      { ...remote, procedure: 208, type: 3, serial: 12, status: 2 },
      Buffer.from('data'),
    );
    expect(Buffer.concat(packet).toString('hex')).toBe(
      bytesOf(`00000020                             # length: 32 bytes
        20008086 00000001                     # program, version
        000000d0                              # procedure 208: STORAGE_VOL_UPLOAD, which opened the stream
        00000003                              # type 3: bytes of a stream
        0000000c                              # serial of the call that opened it
        00000002                              # status 2: more comes (0: it is finished, with no bytes)
        64617461                              # body: the bytes, without a length or padding`).toString(
        'hex',
      ),
    );
  });
});
