/**
 * Links of guests on a real kernel, tried without guests: frames are written to one tap's descriptor and looked for at
 * the others'. Run as `node frames.ts SCENARIO...` in a network namespace, or a kernel, of its own; prints one JSON line
 * a scenario.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readSync, writeSync } from 'node:fs';
import { errnoOf, isVirtError } from '../../../src/base/errors.ts';
import { close } from '../../../src/base/ffi.ts';
import { LinuxLinks } from '../../../src/net/links/link-host.ts';
import { filterVlans, setPortVlans } from '../../../src/net/links/port-vlans.ts';
import type { PortVlan } from '../../../src/net/links/requests.ts';
import { addBridge, linkByName, setUp } from '../../../src/net/links/rtnetlink.ts';
import { areSharesThere, bringShares } from '../../../src/net/links/shares.ts';
import type { Tap, TapRequest } from '../../../src/net/plan.ts';

const links = new LinuxLinks();
const BRIDGE = 'br-test';
/** IEEE 802.3: for local experiments, so that nothing of the kernel's own is mistaken for ours. */
const ETHERTYPE = 0x88b5;
const ETHERTYPE_VLAN = 0x8100;
/** struct virtio_net_hdr in front of each frame (linux/if_tun.h, IFF_VNET_HDR). */
const HEADER = 10;
const everybody = 'ff:ff:ff:ff:ff:ff';

const macOf = (number: number) => `52:54:00:00:00:${number.toString(16).padStart(2, '0')}`;
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

interface FrameWish {
  readonly to?: string;
  readonly from: number;
  readonly tag?: number;
  readonly size?: number;
}

function frame({ to = everybody, from, tag, size = 64 }: FrameWish): Buffer {
  const mac = (text: string) => Buffer.from(text.replaceAll(':', ''), 'hex');
  const type = Buffer.alloc(tag === undefined ? 2 : 6);
  if (tag !== undefined) {
    type.writeUInt16BE(ETHERTYPE_VLAN, 0);
    type.writeUInt16BE(tag, 2);
  }
  type.writeUInt16BE(ETHERTYPE, type.length - 2);
  const head = Buffer.concat([Buffer.alloc(HEADER), mac(to), mac(macOf(from)), type]);
  return Buffer.concat([head, Buffer.alloc(Math.max(0, size - head.length + HEADER))]);
}

/** Our frames that wait at a tap: `-` for one without a tag, else the tag. */
function received(tap: Tap): string[] {
  const found: string[] = [];
  const buffer = Buffer.alloc(4096);
  for (const fd of tap.fds)
    for (;;) {
      const size = readOrNothing(fd, buffer);
      if (size === 0) break;
      const type = buffer.readUInt16BE(HEADER + 12);
      if (type === ETHERTYPE) found.push('-');
      else if (type === ETHERTYPE_VLAN && buffer.readUInt16BE(HEADER + 16) === ETHERTYPE)
        found.push(String(buffer.readUInt16BE(HEADER + 14) & 0xfff));
    }
  return found;
}

function readOrNothing(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return 0;
    throw error;
  }
}

function send(tap: Tap, wish: FrameWish): void {
  writeSync(tap.fds[0] ?? -1, frame(wish));
}

/** What each of the others gets when one sends. */
async function heard(
  taps: readonly Tap[],
  sender: number,
  wish: Partial<FrameWish> = {},
): Promise<string[][]> {
  for (const tap of taps) received(tap);
  send(taps[sender] as Tap, { from: sender, ...wish });
  await sleep(50);
  return taps.map((tap) => received(tap));
}

function makeBridge(): void {
  addBridge({ name: BRIDGE, mac: '52:54:00:aa:bb:cc', isStp: false, delaySeconds: 0 });
  setUp(linkByName(BRIDGE), true);
}

function openTap(number: number, more: Partial<TapRequest> = {}): Promise<Tap> {
  return links.openTap({ bridge: BRIDGE, mac: macOf(number), queues: 1, ...more });
}

function closeTaps(taps: readonly Tap[]): void {
  for (const fd of taps.flatMap(({ fds, vhostFds }) => [...fds, ...vhostFds])) close(fd);
}

const access = (id: number): PortVlan[] => [{ id, isNative: true, isUntagged: true }];

/** Floods UDP addresses behind taps by turns; how many packets came to each tap in that time. */
async function arrivedWithin(
  ms: number,
  taps: readonly Tap[],
  addresses: readonly string[],
): Promise<number[]> {
  // One each: packets that wait for the one fill no buffer of the other.
  const sockets = addresses.map((address) => ({ address, socket: createSocket('udp4') }));
  const counts = taps.map(() => 0);
  const end = performance.now() + ms;
  while (performance.now() < end) {
    for (const { address, socket } of sockets)
      for (let one = 0; one < 10; one += 1) socket.send(Buffer.alloc(1400), 9, address);
    await sleep(5);
    for (const [index, tap] of taps.entries()) counts[index] = (counts[index] ?? 0) + largeFrames(tap);
  }
  for (const { socket } of sockets) socket.close();
  return counts;
}

function largeFrames(tap: Tap): number {
  const buffer = Buffer.alloc(4096);
  let count = 0;
  for (const fd of tap.fds)
    for (let size = readOrNothing(fd, buffer); size > 0; size = readOrNothing(fd, buffer))
      if (size > 1400) count += 1;
  return count;
}

const scenarios: Readonly<Record<string, () => Promise<unknown>>> = {
  /** Two isolated ports and an open one. */
  async isolated() {
    makeBridge();
    const taps = [
      await openTap(0, { isolated: true }),
      await openTap(1, { isolated: true }),
      await openTap(2),
    ];
    return { fromIsolated: await heard(taps, 0), fromOpen: await heard(taps, 2) };
  },

  /** Two ports in VLAN 42, one in 43, a trunk of both with 42 native, one that nobody gave a VLAN. */
  async vlans() {
    makeBridge();
    const trunk: PortVlan[] = [
      { id: 42, isNative: true, isUntagged: true },
      { id: 43, isNative: false, isUntagged: false },
    ];
    const vlansOf = [access(42), access(42), access(43), trunk, undefined];
    const taps: Tap[] = [];
    for (const [number, vlans] of vlansOf.entries())
      taps.push(await openTap(number, { isOwnBridge: true, ...(vlans && { vlans }) }));
    return {
      from42: await heard(taps, 0),
      from43: await heard(taps, 2),
      fromTrunkTagged: await heard(taps, 3, { tag: 43 }),
      fromTrunk: await heard(taps, 3),
      fromNowhere: await heard(taps, 4),
      forged: await heard(taps, 0, { tag: 43 }),
    };
  },

  /** A bridge whose own end is in VLAN 42, and the error on one that does not tell VLANs apart. */
  async bridgeVlans() {
    makeBridge();
    const refusal = await openTap(0, { vlans: access(42) }).catch((error: unknown) => codeOf(error));
    const bridge = linkByName(BRIDGE);
    filterVlans(bridge);
    setPortVlans(bridge, access(42), { self: true });
    const inside = await openTap(1, { vlans: access(42) });
    return {
      refusal,
      tap: inside.name,
      shown: execFileSync('bridge', ['-j', 'vlan', 'show'], { encoding: 'utf8' }),
    };
  },

  /** A megabyte at once to a guest that may get 100 KiB a second, and what has come after one second. */
  async inbound() {
    makeBridge();
    const taps = [
      await openTap(0),
      await openTap(1, { bandwidth: { inbound: { averageKBps: 100, burstKiB: 16 } } }),
    ];
    return { arrived: await flood(taps[0] as Tap, taps[1] as Tap, 700), sent: 700 };
  },

  /** Two guests that the host sends 2 MB each, of which one second lets 400 KB through: 300 of them are the first one's. */
  async shares() {
    makeBridge();
    const taps = [await openTap(0), await openTap(1)];
    const run = (...words: readonly string[]) => execFileSync(words[0] ?? '', words.slice(1));
    run('ip', 'address', 'add', '10.5.0.1/24', 'dev', BRIDGE);
    const addresses = ['10.5.0.2', '10.5.0.3'];
    for (const [index, address] of addresses.entries()) {
      const tap = taps[index]?.name ?? '';
      run('ip', 'neigh', 'add', address, 'lladdr', macOf(index), 'nud', 'permanent', 'dev', BRIDGE);
      run('bridge', 'fdb', 'replace', macOf(index), 'dev', tap, 'master', 'static');
    }
    const plan = {
      bridge: { name: BRIDGE },
      bandwidth: { inbound: { averageKBps: 400 } },
      shares: [{ mac: macOf(0), floorKBps: 300 }],
    };
    await bringShares(plan, undefined);
    const arrived = await arrivedWithin(1000, taps, addresses);
    await bringShares({ ...plan, shares: [] }, plan);
    return { arrived, isGone: !areSharesThere(BRIDGE) };
  },

  /** The same from a guest that may send that much. */
  async outbound() {
    makeBridge();
    const limited = await openTap(0, { bandwidth: { outbound: { averageKBps: 100, burstKiB: 64 } } });
    const other = await openTap(1);
    const first = await flood(limited, other, 700);
    await links.setBandwidth(limited.name, undefined);
    return { arrived: first, sent: 700, arrivedWithoutLimit: await flood(limited, other, 700) };
  },

  /** Two macvtaps on one wire, in each mode, and what is left when they are deleted. */
  async macvtap() {
    execFileSync('ip', ['link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire1']);
    for (const name of ['wire0', 'wire1']) setUp(linkByName(name), true);
    const open = (number: number, mode: 'bridge' | 'private' | 'passthrough', queues = 1) =>
      links.openMacvtap({ lower: 'wire0', mode, mac: macOf(number), queues, owner: `vireo:test:${number}` });
    const before = linkByName('wire0').mac;
    const answers: Record<string, unknown> = {};
    for (const mode of ['bridge', 'private'] as const) {
      const taps = [await open(0, mode), await open(1, mode, 2)];
      answers[mode] = await heard(taps, 0);
      answers[`${mode}Statistics`] = links.statistics(taps[0]?.name ?? '').txPackets > 0;
      answers[`${mode}Users`] = links.usersOf('wire0');
      closeTaps(taps);
      for (const { name } of taps) await links.deleteTap(name);
    }
    const alone = await open(7, 'passthrough');
    answers['second'] = await open(8, 'private').catch((error: unknown) => codeOf(error));
    answers['lowerHasMac'] = linkByName('wire0').mac === macOf(7);
    closeTaps([alone]);
    answers['sweptByOthers'] = await links.sweep('vireo:other', new Set());
    answers['kept'] = await links.sweep('vireo:test', new Set(['7']));
    answers['swept'] = await links.sweep('vireo:test', new Set());
    answers['macIsBack'] = linkByName('wire0').mac === before;
    setUp(linkByName('wire0'), false);
    answers['down'] = await open(0, 'bridge').catch((error: unknown) => codeOf(error));
    answers['left'] = execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }).includes('macvtap');
    return answers;
  },

  /** What a guest's driver asks for reaches its macvtap; groups of the kernel's own stay. */
  async receiveFilter() {
    execFileSync('ip', ['link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire1']);
    for (const name of ['wire0', 'wire1']) setUp(linkByName(name), true);
    const tap = await links.openMacvtap({
      lower: 'wire0',
      mode: 'bridge',
      mac: macOf(1),
      queues: 1,
      owner: 'vireo:test:1',
    });
    const look = () => {
      const [shown] = JSON.parse(
        execFileSync('ip', ['-j', 'link', 'show', tap.name], { encoding: 'utf8' }),
      ) as {
        flags: string[];
        address: string;
      }[];
      const groups = execFileSync('ip', ['maddr', 'show', 'dev', tap.name], { encoding: 'utf8' });
      return {
        mac: shown?.address,
        flags: shown?.flags.filter((flag) => ['PROMISC', 'ALLMULTI'].includes(flag)),
        has: ['01:00:5e:00:00:01', '33:33:00:00:00:fb'].map((mac) => groups.includes(mac)),
      };
    };
    const base = { mac: macOf(2), multicast: [], isAllMulticast: false, isPromiscuous: false };
    links.setReceiveFilter(tap.name, {
      ...base,
      multicast: ['01:00:5e:00:00:01', '33:33:00:00:00:fb'],
      isAllMulticast: true,
      isPromiscuous: true,
    });
    const first = look();
    links.setReceiveFilter(tap.name, base);
    return { first, second: look() };
  },

  /** Taps by themselves, those of an administrator, and names that mean something else. */
  async loose() {
    const tap = await links.openLooseTap({
      mac: macOf(3),
      queues: 2,
      name: 'mine',
      addresses: [{ address: '10.66.0.1', prefix: 24, family: 4 }],
      routes: [{ family: 4, destination: '10.67.0.0', prefix: 16, gateway: '10.66.0.2' }],
    });
    const routes = execFileSync('ip', ['route'], { encoding: 'utf8' });
    closeTaps([tap]);
    await links.deleteTap('mine');
    execFileSync('ip', ['tuntap', 'add', 'admin0', 'mode', 'tap', 'multi_queue']);
    const two = await links.openExisting({ name: 'admin0', queues: 2 });
    const queues = two.fds.length;
    closeTaps([two]);
    const refused = await Promise.all(
      ['lo', 'nothing0'].map((name) =>
        links.openExisting({ name, queues: 1 }).catch((error: unknown) => codeOf(error)),
      ),
    );
    const gone = await links.deleteTap('lo').catch((error: unknown) => codeOf(error));
    return { routes, queues, refused, gone, left: execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }) };
  },

  /** What the guest sends is what its tap receives. */
  async statistics() {
    makeBridge();
    const taps = [await openTap(0), await openTap(1)];
    const before = links.statistics(taps[0]?.name ?? '');
    for (let number = 0; number < 10; number++) send(taps[0] as Tap, { from: 0, size: 500 });
    await sleep(50);
    const after = links.statistics(taps[0]?.name ?? '');
    return { packets: after.txPackets - before.txPackets, bytes: after.txBytes - before.txBytes };
  },
};

/** Sends many large frames within a second; how many have come by its end. */
async function flood(from: Tap, to: Tap, count: number): Promise<number> {
  received(to);
  const end = performance.now() + 1000;
  let arrived = 0;
  for (let number = 0; number < count; number++) {
    send(from, { from: 0, size: 1400 });
    if (number % 20 === 0) {
      await sleep(1);
      arrived += received(to).length;
    }
  }
  while (performance.now() < end) {
    await sleep(20);
    arrived += received(to).length;
  }
  return arrived;
}

function codeOf(error: unknown): string {
  return isVirtError(error) ? error.code : String(error);
}

for (const name of process.argv.slice(2)) {
  const scenario = scenarios[name];
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  const result = await scenario();
  process.stdout.write(`${JSON.stringify({ [name]: result })}\n`);
}
process.exit(0);
