/** Taps and macvtaps on a real kernel, in namespaces of the test's own; VLANs and policing on a Debian kernel in a machine. */
import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { runInKvmGuestTwice } from '../support/kvm-lab/lab.ts';
import { describeWith } from '../support/needs.ts';

const repository = join(import.meta.dirname, '../..');
const script = join(repository, 'test/support/net-lab/frames.ts');
const runFile = promisify(execFile);

/** Runs a scenario of frames.ts in a namespace that is made for it; its answer. */
async function play(scenario: string): Promise<unknown> {
  const namespace = `vireo-links-${process.pid}`;
  execFileSync('ip', ['netns', 'add', namespace]);
  try {
    execFileSync('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
    const { stdout } = await runFile('ip', ['netns', 'exec', namespace, process.execPath, script, scenario], {
      timeout: 60_000,
    });
    return answersOf(stdout)[scenario];
  } finally {
    execFileSync('ip', ['netns', 'delete', namespace]);
  }
}

function answersOf(stdout: string): Record<string, unknown> {
  const lines = stdout.trim().split('\n');
  return Object.assign({}, ...lines.map((line) => JSON.parse(line) as unknown)) as Record<string, unknown>;
}

describeWith(['root', 'ip', '/dev/net/tun'], 'links of guests', () => {
  it('are hidden from each other on isolated ports, and not from others', async () => {
    expect(await play('isolated')).toEqual({
      fromIsolated: [[], [], ['-']],
      fromOpen: [['-'], ['-'], []],
    });
  });

  it('of an administrator stay, taps by themselves have addresses and routes, and nothing else is taken', async () => {
    expect(await play('loose')).toMatchObject({
      routes: expect.stringMatching(
        /10\.66\.0\.0\/24 dev mine[^]*10\.67\.0\.0\/16 via 10\.66\.0\.2 dev mine/,
      ) as string,
      queues: 2,
      refused: ['link.failed', 'link.failed'],
      gone: 'link.failed',
      left: expect.stringMatching(/^(?![^]*mine)[^]*admin0/) as string,
    });
  });

  it('count as their guest does', async () => {
    expect(await play('statistics')).toEqual({ packets: 10, bytes: 5000 });
  });
});

describeWith(['root', 'ip', '/dev/net/tun'], 'macvtaps', () => {
  it('are made in the modes, deleted, swept by their maker alone, and give the address below back', async () => {
    expect(await play('macvtap')).toEqual({
      bridge: [[], ['-']],
      bridgeStatistics: true,
      bridgeUsers: 2,
      private: [[], []],
      privateStatistics: true,
      privateUsers: 2,
      second: 'link.failed',
      lowerHasMac: true,
      sweptByOthers: [],
      kept: [],
      swept: ['macvtap0'],
      macIsBack: true,
      down: 'link.failed',
      left: false,
    });
  });

  it("follow what a trusted guest's driver wants to receive, and back", async () => {
    const mac = '52:54:00:00:00:02';
    expect(await play('receiveFilter')).toEqual({
      first: { mac, flags: ['ALLMULTI', 'PROMISC'], has: [true, true] },
      second: { mac, flags: [], has: [true, false] },
    });
  });
});

describeWith(['root', 'ip', 'tc', 'bridge', 'nft', '/dev/net/tun'], 'limits of bandwidth', () => {
  it('hold back what goes to a guest', async () => {
    const { arrived } = (await play('inbound')) as { arrived: number };
    // 100 KiB a second and 16 KiB at once are 83 frames of 1400 bytes; some 20 more would be a quarter of a second.
    expect(arrived).toBeGreaterThan(30);
    expect(arrived).toBeLessThan(110);
  });

  it('leave a guest the share that it is guaranteed, when another wants all', async () => {
    const { arrived, isGone } = (await play('shares')) as { arrived: [number, number]; isGone: boolean };
    const [first, second] = arrived;
    // 400 KB are some 280 packets, and a burst.
    expect(first + second).toBeGreaterThan(100);
    expect(first + second).toBeLessThan(450);
    expect(first / second).toBeGreaterThan(2);
    expect(isGone).toBe(true);
  });
});

describeWith(
  ['root', 'qemu-system-x86_64', '/bin/busybox', 'setpriv', 'dpkg-deb', 'xz', 'tc', 'bridge'],
  'on a Debian kernel',
  () => {
    it('ports are in their VLANs, and what comes from a guest can be limited', {
      timeout: 900_000,
    }, async () => {
      const scenarios = ['vlans', 'bridgeVlans', 'outbound'];
      const steps = scenarios.map(
        (one) =>
          `ip netns add t; ip -n t link set lo up; ip netns exec t ${process.execPath} ${script} ${one}; ip netns del t`,
      );
      const result = await runInKvmGuestTwice({
        command: ['/bin/sh', '-c', `set -e; ${steps.join('; ')}`],
        directory: repository,
        cpus: 1,
        timeoutMs: 400_000,
        modules: ['tun', 'bridge', 'veth', 'sch_htb', 'sch_ingress', 'cls_matchall', 'act_police'],
      });
      expect(result.status, `${result.stderr}\n${result.console}`).toBe(0);
      const { vlans, bridgeVlans, outbound } = answersOf(result.stdout);
      expect(vlans).toEqual({
        from42: [[], ['-'], [], ['-'], []],
        from43: [[], [], [], ['43'], []],
        fromTrunkTagged: [[], [], ['-'], [], []],
        fromTrunk: [['-'], ['-'], [], [], []],
        fromNowhere: [[], [], [], [], []],
        forged: [[], [], [], [], []],
      });
      const { refusal, tap, shown } = bridgeVlans as { refusal: string; tap: string; shown: string };
      expect(refusal).toBe('link.failed');
      const only42 = [{ vlan: 42, flags: ['PVID', 'Egress Untagged'] }];
      expect(JSON.parse(shown)).toEqual([
        { ifname: 'br-test', vlans: only42 },
        { ifname: tap, vlans: only42 },
      ]);
      const { arrived, sent, arrivedWithoutLimit } = outbound as Record<string, number>;
      // 64 KiB at once and 100 KiB a second, in at most some seconds of a slow machine.
      expect(arrived).toBeGreaterThan(20);
      expect(arrived).toBeLessThan(500);
      expect(arrivedWithoutLimit).toBe(sent);
    });
  },
);
