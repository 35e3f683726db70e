/** What the check of the host says of active networks. */
import { describe } from 'vitest';
import { refused, routed, tellsOf } from './healthy-host.ts';

describe('the check of active networks', () => {
  tellsOf([
    [
      'network-bridges',
      'a bridge that is gone',
      { files: { '/sys/class/net/virbr7/bridge/stp_state': undefined } },
      'problem',
      /virbr7 of 'lab' is gone/,
      /vireo network reload lab/,
    ],
    [
      'network-bridges',
      'a bridge that is down',
      { files: { '/sys/class/net/virbr7/flags': '0x1002\n' } },
      'problem',
      /virbr7 of 'lab' is down/,
      /vireo network reload lab/,
    ],
    [
      'bridge-netfilter',
      'bridged frames that go through iptables',
      { files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': '1\n' } },
      'warning',
      /bridge-nf-call-iptables\)/,
      /sysctl net\.bridge\.bridge-nf-call-iptables=0/,
    ],
    [
      'bridge-netfilter',
      'br_netfilter switched off',
      { files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': '0\n' } },
      'ok',
      /switched off/,
      undefined,
    ],
    [
      'reverse-path',
      'a strict filter on a routed network',
      {
        files: {
          '/proc/sys/net/ipv4/conf/virbr7/rp_filter': '1\n',
          '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
        },
        context: { networks: [routed] },
      },
      'warning',
      /strict on routed networks \('lab'\)/,
      /rp_filter=2/,
    ],
    [
      'network-rules',
      'rules that were flushed',
      { programs: { 'nft list table ip libvirt_network': refused } },
      'problem',
      /missing for 'lab'/,
      /vireo network reload lab/,
    ],
    [
      'network-rules',
      "rules in iptables' chains",
      {
        programs: {
          'nft list table ip libvirt_network': refused,
          'iptables -w -S LIBVIRT_FWI': '-A LIBVIRT_FWI -o virbr7 -j REJECT\n',
        },
      },
      'ok',
      /in place for 'lab'/,
      undefined,
    ],
    [
      'network-servers',
      'a dnsmasq that has ended',
      { files: { '/proc/70/cmdline': undefined } },
      'problem',
      /no dnsmasq runs for 'lab'/,
      /vireo network reload lab/,
    ],
    [
      'server-ports',
      'another dnsmasq and a named on all addresses',
      {
        programs: {
          'ss -Hlntup ( sport = :53 or sport = :67 )':
            'udp UNCONN 0 0 0.0.0.0:67 0.0.0.0:* users:(("dnsmasq",pid=71,fd=5))\ntcp LISTEN 0 10 [::]:53 [::]:* users:(("named",pid=72,fd=5))\n',
        },
      },
      'warning',
      /dnsmasq has DHCP on 0\.0\.0\.0:67; named has DNS on \[::\]:53/,
      /except-interface=virbr\*.*listen-on/,
    ],
    [
      'server-ports',
      'a server of its own whose process the daemon may not look at',
      {
        programs: {
          'ss -Hlntup ( sport = :53 or sport = :67 )': 'udp UNCONN 0 0 192.168.7.1:53 0.0.0.0:*\n',
        },
      },
      'ok',
      /nobody else/,
      undefined,
    ],
    [
      'server-ports',
      "a server of others on the network's own address",
      {
        files: { '/proc/70/cmdline': undefined },
        programs: {
          'ss -Hlntup ( sport = :53 or sport = :67 )': 'udp UNCONN 0 0 192.168.7.1:53 0.0.0.0:*\n',
        },
      },
      'warning',
      /a program that cannot be seen has DNS on 192\.168\.7\.1:53/,
      /its own addresses/,
    ],
    [
      'network-names',
      'a domain that systemd-resolved has forgotten',
      { programs: { 'resolvectl domain virbr7': 'Link 7 (virbr7):\n' } },
      'warning',
      /does not know the domain of 'lab'/,
      /resolvectl dns virbr7 192\.168\.7\.1; resolvectl domain virbr7 '~lab\.test'/,
    ],
    [
      'network-names',
      'no systemd-resolved',
      { files: { '/run/systemd/resolve/stub-resolv.conf': undefined } },
      'absent',
      /looks up no names of 'lab'/,
      /server=\/lab\.test\/192\.168\.7\.1/,
    ],
  ]);
});
