/** The host finds guests by name: a real systemd-resolved on a bus of its own, in the lab's namespaces. */
import { chownSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NetworkPlan } from '../../src/net/plan.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { NetLab, natPlan } from '../support/net-lab/lab.ts';

/** The host's own, or what scripts/setup.sh has unpacked. */
const unpacked = resolve(import.meta.dirname, '../../node_modules/.cache/systemd-resolved');
const base = existsSync('/lib/systemd/systemd-resolved') ? '' : unpacked;
const server = `${base}/lib/systemd/systemd-resolved`;
const client = `${base}/usr/bin/resolvectl`;

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'busybox', '/dev/net/tun', 'dbus-daemon', server, client];

/** A user id that nobody has. */
const RESOLVED_ID = 60_992;

const busConfiguration = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>`;

let lab: NetLab;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

/** A /run of the lab's own with a bus in it, the user that resolved becomes, and its client in PATH. */
function makeRun(): readonly string[] {
  const run = join(lab.directory, 'hostrun');
  for (const name of ['dbus', 'systemd', 'systemd/resolve', 'bin'])
    mkdirSync(join(run, name), { recursive: true });
  chownSync(join(run, 'systemd/resolve'), RESOLVED_ID, RESOLVED_ID);
  writeFileSync(join(run, 'bus.conf'), busConfiguration);
  symlinkSync(client, join(run, 'bin/resolvectl'));
  const others = (file: string) => readFileSync(file, 'utf8').replaceAll(/^systemd-resolve:.*\n/gm, '');
  const entry = `systemd-resolve:x:${RESOLVED_ID}:`;
  writeFileSync(join(run, 'passwd'), `${others('/etc/passwd')}${entry}${RESOLVED_ID}::/:/usr/sbin/nologin\n`);
  writeFileSync(join(run, 'group'), `${others('/etc/group')}${entry}\n`);
  const mounts = ['/run/passwd /etc/passwd', '/run/group /etc/group', '/run/bin /usr/local/bin'];
  const script = ['mount --bind "$0" /run', ...mounts.map((words) => `mount --bind ${words}`), 'exec "$@"'];
  return ['sh', '-ec', script.join('; '), run];
}

describeWith(needs, 'a network whose domain is registered', () => {
  it('is asked for names of its guests by the resolver of the host, as long as it is there', async () => {
    const around = makeRun();
    const query = (name: string) => lab.run('host', ...around, 'resolvectl', '--no-pager', 'query', name);
    lab.spawn('host', ...around, 'dbus-daemon', '--config-file=/run/bus.conf', '--nofork', '--nopidfile');
    await eventually('the bus', () => existsSync(join(lab.directory, 'hostrun/dbus/system_bus_socket')));
    lab.spawn('host', ...around, 'env', 'SYSTEMD_LOG_LEVEL=err', server);
    await eventually('the resolver', () =>
      existsSync(join(lab.directory, 'hostrun/systemd/resolve/io.systemd.Resolve')),
    );

    const agent = await lab.agent({}, around);
    const plan: NetworkPlan = {
      ...natPlan,
      domain: { name: 'lab.test', isLocalOnly: true, isRegistered: true },
    };
    await agent.ask('start', plan);
    lab.addClient('two', '52:54:00:00:00:12');
    const address = await lab.lease('two', 'two');
    expect(await query('two.lab.test')).toContain(address);
    expect(await query(address)).toContain('two.lab.test');
    const status = await lab.run('host', ...around, 'resolvectl', '--no-pager', 'status', 'virbr0');
    // Only names of the domain go there: it is no default route for the others.
    expect(status).toMatch(/DNS Domain: ~lab\.test/);
    expect(status).toContain('-DefaultRoute');

    await agent.ask('stop', plan);
    await expect(query('two.lab.test')).rejects.toThrow();
    expect(await lab.run('host', ...around, 'resolvectl', '--no-pager', 'status')).not.toContain('virbr0');
  });
});
