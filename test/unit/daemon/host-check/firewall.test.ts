/** What the check of the host says of firewalls and forwarding. */
import { describe } from 'vitest';
import { refused, tellsOf } from './healthy-host.ts';

describe('the check of firewalls', () => {
  tellsOf([
    [
      'firewall',
      'no backend',
      { programs: { 'nft list tables': undefined, 'iptables -w -t nat -S': undefined } },
      'problem',
      /no nft; no iptables/,
      /nftables/,
    ],
    [
      'firewall',
      'backends that do not work',
      { programs: { 'nft list tables': refused, 'iptables -w -t nat -S': refused } },
      'problem',
      /nft does not work here/,
      /modprobe nf_tables/,
    ],
    [
      'firewall',
      'only iptables',
      { programs: { 'nft list tables': refused } },
      'ok',
      /nft does not work here \(Operation not permitted\); iptables works \(nf_tables\)/,
      undefined,
    ],
    [
      'forward-policy',
      "Docker's policy",
      { programs: { 'iptables -w -S': '-P FORWARD DROP\n-N DOCKER-USER\n' } },
      'warning',
      /Docker/,
      /DOCKER-USER/,
    ],
    [
      'forward-policy',
      'a dropping nft chain',
      {
        programs: {
          'nft -j list chains':
            '{"nftables": [{"metainfo": {}}, {"chain": {"family": "inet", "table": "mine", "name": "fwd", "hook": "forward", "policy": "drop"}}]}',
        },
      },
      'warning',
      /nft chain inet mine fwd.*guests on any bridge/,
      /nft insert rule inet mine fwd iifname BRIDGE accept/,
    ],
    [
      'forward-policy',
      'an nft without JSON',
      { programs: { 'nft -j list chains': 'table inet x' } },
      'ok',
      /accepting/,
      undefined,
    ],
    [
      'forward-policy',
      "ufw's policy",
      { programs: { 'iptables -w -S': '-P FORWARD DROP\n-N ufw-user-forward\n' } },
      'warning',
      /ufw is here: Vireo's own networks/,
      /^ufw route allow in on BRIDGE/,
    ],
    [
      'ip-forward',
      'what networks switched on',
      {
        files: { '/run/before.json': '{"format":1,"before":{"ipv4/ip_forward":"0"}}\n' },
        context: { settingsBefore: '/run/before.json' },
      },
      'ok',
      /on by Vireo's networks, which put back after the last: ipv4\/ip_forward was 0/,
      undefined,
    ],
    [
      'ip-forward',
      'forwarding off under a running network',
      { files: { '/proc/sys/net/ipv4/ip_forward': '0\n' } },
      'problem',
      /guests on 'lab' reach nobody/,
      /vireo network reload lab/,
    ],
    [
      'ip-forward',
      'forwarding off',
      { files: { '/proc/sys/net/ipv4/ip_forward': '0\n' }, context: { networks: [] } },
      'warning',
      /off/,
      /sysctl/,
    ],
  ]);
});
