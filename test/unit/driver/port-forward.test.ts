import { describe, expect, it } from 'vitest';
import type { PortForward } from '../../../src/drivers/driver.ts';
import {
  addForwardCommand,
  checkAddAnswer,
  checkRemoveAnswer,
  removeForwardCommand,
} from '../../../src/drivers/qemu/port-forward.ts';

const web: PortForward = {
  protocol: 'tcp',
  hostAddress: '127.0.0.1',
  hostPort: 8080,
  guestAddress: '10.0.2.15',
  guestPort: 80,
};

describe('port forwards', () => {
  it('are written as hostfwd_add and hostfwd_remove take them', () => {
    expect(addForwardCommand('net0', web)).toBe('hostfwd_add hostnet0 tcp:127.0.0.1:8080-10.0.2.15:80');
    expect(removeForwardCommand('net0', web)).toBe('hostfwd_remove hostnet0 tcp:127.0.0.1:8080');
  });

  it('may leave both addresses open', () => {
    const open = { ...web, protocol: 'udp' as const, hostAddress: '', guestAddress: '' };
    expect(addForwardCommand('net0', open)).toBe('hostfwd_add hostnet0 udp::8080-:80');
  });

  const bad: readonly [string, Partial<PortForward>][] = [
    ['a blank that would add a word', { hostAddress: '127.0.0.1 quit' }],
    ['a line break', { hostAddress: '127.0.0.1\nquit' }],
    ['a rule in an address', { guestAddress: '10.0.2.15:1-x' }],
    ['an IPv6 address', { hostAddress: '::1' }],
    ['port 0', { hostPort: 0 }],
    ['a port above 65535', { guestPort: 65_536 }],
    ['a port that is no whole number', { guestPort: 1.5 }],
    ['another protocol', { protocol: 'sctp' as 'tcp' }],
  ];
  it.each(bad)('refuse %s', (_, change) => {
    expect(() => addForwardCommand('net0', { ...web, ...change })).toThrow(
      expect.objectContaining({ code: 'request.invalid' }),
    );
    expect(() => removeForwardCommand('net0', { ...web, ...change })).toThrow(
      expect.objectContaining({ code: 'request.invalid' }),
    );
  });

  it('refuse an alias that would become words of the monitor', () => {
    expect(() => addForwardCommand('net0 quit', web)).toThrow(
      expect.objectContaining({ code: 'domain.no-device' }),
    );
  });

  it('tell a taken port, an unknown rule and a wrong interface apart', () => {
    expect(() => checkAddAnswer('', web)).not.toThrow();
    expect(() => checkAddAnswer("could not set up host forwarding rule 'tcp:...'\r\n", web)).toThrow(
      expect.objectContaining({ code: 'forward.conflict' }),
    );
    expect(() => checkAddAnswer('unrecognized netdev id \r\n', web)).toThrow(
      expect.objectContaining({ code: 'domain.no-device' }),
    );
    expect(() =>
      checkRemoveAnswer('host forwarding rule for tcp:127.0.0.1:8080 removed\r\n', web),
    ).not.toThrow();
    expect(() => checkRemoveAnswer('host forwarding rule for tcp:127.0.0.1:8080 not found\r\n', web)).toThrow(
      expect.objectContaining({ code: 'forward.not-found' }),
    );
  });
});
