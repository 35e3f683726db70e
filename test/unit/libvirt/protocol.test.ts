/** The table of procedures against facts of libvirt's protocol, and annotated fixtures of messages. */
import { describe, expect, it } from 'vitest';
import { apiFunction, isAllowedReadOnly } from '../../../src/libvirt/access.ts';
import { errorBody, streamHole } from '../../../src/libvirt/protocol/message.ts';
import { type Call, wireName } from '../../../src/libvirt/protocol/procedure.ts';
import {
  ADMIN_PROGRAM,
  lxcProgram,
  qemuProgram,
  remoteProcedures,
  remoteProgram,
} from '../../../src/libvirt/protocol/programs.ts';
import { decodeAll, encodeAll, type Xdr } from '../../../src/libvirt/xdr/xdr.ts';

const rows = Object.entries(remoteProcedures);
const callOf = (name: keyof typeof remoteProcedures) => remoteProcedures[name] as unknown as Call;

describe('the table', () => {
  it('has every number of libvirt 9.0, and those of 11.3, once', () => {
    const numbers = rows.map(([, { number }]) => number).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 453 }, (_, index) => index + 1));
    expect([...qemuProgram.byNumber.keys()]).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([...lxcProgram.byNumber.keys()]).toEqual([1]);
  });

  it('has the program numbers of the protocol', () => {
    expect([remoteProgram.number, qemuProgram.number, lxcProgram.number, ADMIN_PROGRAM]).toEqual([
      0x20008086, 0x20008087, 0x00068000, 0x06900690,
    ]);
  });

  it.each([
    ['connectOpen', 1, 'CONNECT_OPEN'],
    ['domainGetInfo', 16, 'DOMAIN_GET_INFO'],
    ['domainGetXmlDesc', 14, 'DOMAIN_GET_XML_DESC'],
    ['authList', 66, 'AUTH_LIST'],
    ['connectListAllDomains', 273, 'CONNECT_LIST_ALL_DOMAINS'],
    ['domainEventCallbackLifecycle', 318, 'DOMAIN_EVENT_CALLBACK_LIFECYCLE'],
    ['domainEventBlockJob2', 339, 'DOMAIN_EVENT_BLOCK_JOB_2'],
    ['domainMigratePrepareTunnel3Params', 304, 'DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS'],
    ['domainFdAssociate', 443, 'DOMAIN_FD_ASSOCIATE'],
    ['domainEventNicMacChange', 453, 'DOMAIN_EVENT_NIC_MAC_CHANGE'],
  ] as const)('%s is %i, %s', (name, number, wire) => {
    expect(remoteProcedures[name].number).toBe(number);
    expect(wireName(name, remoteProcedures[name])).toBe(wire);
  });

  it('knows which calls a stream follows', () => {
    const streams = rows.filter(([, row]) => row.kind === 'call' && 'stream' in row).map(([name]) => name);
    expect(streams.sort()).toEqual(
      [
        'domainMigratePrepareTunnel',
        'domainMigratePrepareTunnel3',
        'domainMigratePrepareTunnel3Params',
        'domainOpenChannel',
        'domainOpenConsole',
        'domainScreenshot',
        'storageVolDownload',
        'storageVolUpload',
      ].sort(),
    );
  });
});

describe('what a read-only connection may call', () => {
  const allowed = (name: keyof typeof remoteProcedures, args: unknown = {}) =>
    isAllowedReadOnly(name, callOf(name), args);

  it.each(['connectOpen', 'connectClose', 'domainGetInfo', 'connectListAllDomains', 'nodeGetInfo'] as const)(
    '%s, which only looks',
    (name) => expect(allowed(name)).toBe(true),
  );

  it.each([
    'domainCreateXml',
    'domainDestroy',
    'domainScreenshot',
    'domainOpenConsole',
    'domainOpenGraphicsFd',
    'secretGetValue',
    'domainMemoryPeek',
    'connectFindStoragePoolSources',
    'connectSetIdentity',
    'domainSetSchedulerParameters',
    'nodeGetSevInfo',
    'domainDelThrottleGroup',
  ] as const)('not %s', (name) => expect(allowed(name)).toBe(false));

  it('XML, but not with its secrets', () => {
    expect(allowed('domainGetXmlDesc', { flags: 2 })).toBe(true);
    expect(allowed('domainGetXmlDesc', { flags: 1 })).toBe(false);
    expect(allowed('domainGetXmlDesc', { flags: 8 })).toBe(false);
  });

  it('addresses, but not by asking the guest', () => {
    expect(allowed('domainInterfaceAddresses', { source: 0, flags: 0 })).toBe(true);
    expect(allowed('domainInterfaceAddresses', { source: 1, flags: 0 })).toBe(false);
  });
});

it.each([
  ['domainGetXmlDesc', 'virDomainGetXMLDesc'],
  ['domainLookupByUuid', 'virDomainLookupByUUID'],
  ['domainLookupById', 'virDomainLookupByID'],
  ['connectGetUri', 'virConnectGetURI'],
  ['domainInjectNmi', 'virDomainInjectNMI'],
  ['domainOpenGraphicsFd', 'virDomainOpenGraphicsFD'],
  ['nodeGetCpuStats', 'virNodeGetCPUStats'],
  ['networkGetDhcpLeases', 'virNetworkGetDHCPLeases'],
  ['domainFsfreeze', 'virDomainFSFreeze'],
  ['domainPmSuspendForDuration', 'virDomainPMSuspendForDuration'],
])("%s is libvirt's %s", (name, api) => {
  expect(apiFunction(name)).toBe(api);
});

/** Lines of `hex  # what it is`, as one run of bytes. */
function bytesOf(annotated: string): Buffer {
  return Buffer.from(annotated.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex');
}

const fixtures: readonly (readonly [string, Xdr<unknown>, unknown, string])[] = [
  [
    'arguments of CONNECT_OPEN',
    callOf('connectOpen').args,
    { name: 'qemu:///system', flags: 1 },
    `00000001                            # name is there
     0000000e                            # 14 bytes
     71656d753a2f2f2f73797374656d 0000   # qemu:///system, two of padding
     00000001                            # flags: read-only`,
  ],
  [
    'result of DOMAIN_LOOKUP_BY_NAME',
    callOf('domainLookupByName').ret,
    { dom: { name: 'web', uuid: '6ba7b810-9dad-11d1-80b4-00c04fd430c8', id: -1 } },
    `00000003 77656200                   # name: web
     6ba7b8109dad11d180b400c04fd430c8    # uuid, raw
     ffffffff                            # id: it does not run`,
  ],
  [
    'result of DOMAIN_GET_INFO',
    callOf('domainGetInfo').ret,
    { state: 1, maxMem: 65_536, memory: 65_536, nrVirtCpu: 2, cpuTime: 5_000_000_000 },
    `00000001                            # state: a char in C, a word here
     0000000000010000                    # maxMem, KiB
     0000000000010000                    # memory, KiB
     00000002                            # virtual CPUs: a short in C
     000000012a05f200                    # cpuTime, ns`,
  ],
  [
    'result of CONNECT_LIST_ALL_DOMAINS',
    callOf('connectListAllDomains').ret,
    { domains: [], ret: 3 },
    `00000000                            # no array: it was not asked for
     00000003                            # but counted`,
  ],
  [
    'a lifecycle event for a callback',
    remoteProcedures.domainEventCallbackLifecycle.body,
    {
      callbackId: 4,
      msg: { dom: { name: 'a', uuid: '00000000-0000-0000-0000-000000000001', id: 7 }, event: 2, detail: 0 },
    },
    `00000004                            # callback
     00000001 61000000                   # name: a
     00000000000000000000000000000001    # uuid
     00000007                            # id
     00000002                            # started
     00000000                            # booted`,
  ],
  [
    'an error',
    errorBody,
    {
      code: 42,
      domain: 10,
      message: 'Domain not found: x',
      level: 2,
      dom: null,
      str1: 'Domain not found: %s',
      str2: 'x',
      str3: null,
      int1: -1,
      int2: -1,
      net: null,
    },
    `0000002a                            # no domain
     0000000a                            # QEMU
     00000001 00000013 446f6d61696e206e6f7420666f756e643a207800 # message
     00000002                            # error
     00000000                            # no domain object
     00000001 00000014 446f6d61696e206e6f7420666f756e643a202573 # form
     00000001 00000001 78000000          # detail
     00000000                            # str3
     ffffffff ffffffff                   # int1, int2
     00000000                            # no network object`,
  ],
  [
    'a hole of a stream',
    streamHole,
    { length: 1_048_576, flags: 0 },
    '0000000000100000 # length\n 00000000 # flags',
  ],
];

describe('bytes of', () => {
  it.each(fixtures)('%s', (_, codec, value, annotated) => {
    const bytes = bytesOf(annotated);
    expect(encodeAll(codec, value).toString('hex')).toBe(bytes.toString('hex'));
    expect(decodeAll(codec, bytes)).toEqual(value);
  });
});
