import { describe, expect, it } from 'vitest';
import { parseDisk } from '../../../src/cli/options/disk.ts';
import { formatDuration, parseDuration } from '../../../src/cli/options/duration.ts';
import { parseFields } from '../../../src/cli/options/fields.ts';
import { formatEndpoint, parseForward, splitRange } from '../../../src/cli/options/forward.ts';
import { parseNetwork, parseNetworks } from '../../../src/cli/options/network.ts';

describe('--disk', () => {
  it('reads every field', () => {
    expect(parseDisk('path=/x.qcow2,size=10GiB,format=qcow2,bus=scsi,readonly=yes', '/home/me')).toEqual({
      path: '/x.qcow2',
      createBytes: 10 * 1024 ** 3,
      format: 'qcow2',
      bus: 'scsi',
      readonly: true,
    });
  });

  it('takes a path alone, relative to where the user is', () => {
    expect(parseDisk('images/a.raw', '/home/me')).toEqual({ path: '/home/me/images/a.raw' });
    expect(parseDisk('pool=isos,size=1GiB', '/')).toEqual({ pool: 'isos', createBytes: 2 ** 30 });
    expect(parseDisk('vol=isos/web.qcow2,bus=sata', '/')).toEqual({
      pool: 'isos',
      volume: 'web.qcow2',
      bus: 'sata',
    });
    expect(parseDisk('vol=web.qcow2', '/')).toEqual({ pool: 'default', volume: 'web.qcow2' });
  });

  it('takes a comma in a path when it is written twice', () => {
    expect(parseDisk('path=/a,,b.raw,readonly=off', '/')).toEqual({ path: '/a,b.raw', readonly: false });
  });

  it('rounds a size up to whole sectors', () => {
    expect(parseDisk('/a,size=1.0005KB', '/').createBytes).toBe(1024);
  });

  it.each([
    ['', 'a field is empty'],
    ['size=1GiB', 'there is no path'],
    ['/a,path=/b', 'more than one path, pool or volume'],
    ['/a,size=10', 'the size has no unit'],
    ['/a,size=1b', 'under one sector'],
    ['/a,size=many', 'not a number'],
    ['/a,format=floppy', 'no such value'],
    ['/a,bus=isa', 'no such value'],
    ['/a,readonly=maybe', 'neither yes nor no'],
    ['/a,colour=red', "no field 'colour'"],
    ['/a,size=1G,size=2G', "'size' is given twice"],
    ['/a,,', ''],
    ['/a,b', "'b' has no value"],
  ])('refuses %j', (text, reason) => {
    if (reason === '') expect(parseDisk(text, '/')).toEqual({ path: '/a,' });
    else expect(() => parseDisk(text, '/')).toThrow(reason);
  });
});

describe('--network', () => {
  it('reads user networking with forwards', () => {
    expect(parseNetwork('user,forward=tcp:2222:22,forward=udp:[::1]:53:10.0.2.15:53')).toEqual({
      type: 'user',
      portForwards: [
        { protocol: 'tcp', hostPort: 2222, guestPort: 22 },
        { protocol: 'udp', hostAddress: '::1', hostPort: 53, guestAddress: '10.0.2.15', guestPort: 53 },
      ],
    });
  });

  it('reads passt, segments and bridges of a session', () => {
    expect(parseNetwork('passt,forward=tcp:2222:22')).toEqual({
      type: 'user',
      backend: 'passt',
      portForwards: [{ protocol: 'tcp', hostPort: 2222, guestPort: 22 }],
    });
    expect(parseNetwork('segment=lab,model=e1000e')).toEqual({
      type: 'segment',
      source: 'lab',
      model: 'e1000e',
    });
    expect(() => parseNetwork('segment=lab,forward=tcp:1:1')).toThrow(/user networking/);
    expect(() => parseNetwork('passt,segment=lab')).toThrow(/once/);
  });

  it('reads networks and bridges with a model', () => {
    expect(parseNetwork('network=default,model=e1000e')).toEqual({
      type: 'network',
      source: 'default',
      model: 'e1000e',
    });
    expect(parseNetwork('bridge=br0')).toEqual({ type: 'bridge', source: 'br0' });
    expect(parseNetwork('direct=eth0')).toEqual({ type: 'direct', source: 'eth0' });
    expect(parseNetwork('direct=eth0,mode=private')).toEqual({
      type: 'direct',
      source: 'eth0',
      mode: 'private',
    });
  });

  it('lets none stand for no device, alone', () => {
    expect(parseNetworks(['none'])).toEqual([]);
    expect(() => parseNetworks(['user', 'none'])).toThrow('none stands alone');
  });

  it.each([
    ['bridge', "no kind 'bridge'"],
    ['user,network=default', 'once'],
    ['network=', 'once'],
    ['model=virtio', 'once'],
    ['bridge=br0,mode=private', 'a mode belongs to direct=INTERFACE'],
    ['direct=eth0,mode=hub', "there is no mode 'hub'"],
    ['bridge=br0,forward=1:2', 'port forwards belong to user networking'],
    ['user,forward=0:22', "'0' is no port"],
    ['user,forward=2222', 'a port is missing'],
    ['user,forward=host:2222:22', 'neither a port nor an IP address'],
  ])('refuses %j', (text, reason) => {
    expect(() => parseNetwork(text)).toThrow(reason);
  });
});

describe('port forwards', () => {
  it.each([
    ['2222:22', { protocol: 'tcp', hostPort: 2222, guestPort: 22 }],
    ['udp:5353:53', { protocol: 'udp', hostPort: 5353, guestPort: 53 }],
    ['0.0.0.0:80:8080', { protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 80, guestPort: 8080 }],
    [
      'tcp:127.0.0.1:80:10.0.2.15:8080',
      { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 80, guestAddress: '10.0.2.15', guestPort: 8080 },
    ],
  ])('reads %s', (text, forward) => {
    expect(parseForward('--forward', text)).toEqual(forward);
  });

  it.each([
    '',
    ':',
    '22',
    '22:',
    ':22:22',
    '22::22',
    '1:2:3',
    'sctp:1:2',
    '65536:1',
    '1:2:',
    '-1:2',
    '[::1:1:2',
    ' 1:2',
  ])('refuses %j', (text) => {
    expect(() => parseForward('--forward', text)).toThrow(/cannot use --forward/);
  });

  it.each([
    ['8080:80', { text: '8080:80', count: 1 }],
    ['8000-8009:8000', { text: '8000:8000', count: 10 }],
    ['udp:[::]:8000-8001:90-91', { text: 'udp:[::]:8000:90', count: 2 }],
    ['tcp:8000-8009', { text: 'tcp:8000', count: 10 }],
  ])('takes the ranges out of %s', (text, range) => {
    expect(splitRange('the forward', text)).toEqual(range);
  });

  it.each(['8009-8000:80', '8000-8009:80-82'])('refuses the ranges of %s', (text) => {
    expect(() => splitRange('the forward', text)).toThrow(/its ranges do not fit/);
  });

  it('writes an IPv6 address in brackets', () => {
    expect(formatEndpoint('::1', 80)).toBe('[::1]:80');
    expect(formatEndpoint('127.0.0.1', 80)).toBe('127.0.0.1:80');
    expect(formatEndpoint('', 80)).toBe('port 80');
  });
});

describe('lengths of time', () => {
  it.each([
    ['30', 30_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['2min', 120_000],
    ['24h', 86_400_000],
  ])('reads %s', (text, ms) => {
    expect(parseDuration('--timeout', text)).toBe(ms);
  });

  it.each(['', '-1', '25h', '1d', 'soon', '1 s', '1e3'])('refuses %j', (text) => {
    expect(() => parseDuration('--timeout', text)).toThrow('not a length of time');
  });

  it.each([
    [0, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_600_000, '1 h'],
    [3_900_000, '1 h 5 min'],
    [86_400_000, '1 d'],
    [100_000_000, '1 d 3 h'],
  ])('writes %d ms', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

describe('option strings', () => {
  it('keep the order and repeats of fields that may repeat', () => {
    const rules = { known: ['a', 'b'], repeatable: ['a'] };
    expect(parseFields('--x', 'head,a=1,b==,a=2', rules)).toEqual({
      head: 'head',
      pairs: [
        ['a', '1'],
        ['b', '='],
        ['a', '2'],
      ],
    });
  });
});
