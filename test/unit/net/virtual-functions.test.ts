/** Virtual functions in rtnetlink's bytes (linux/if_link.h): what is asked of the physical function, what it tells. */
import { describe, expect, it } from 'vitest';
import { macChange, parseFunctions, vlanChange } from '../../../src/net/links/virtual-functions.ts';

const bytes = (text: string) => Buffer.from(text.replaceAll(/\/\/.*$|\s/gm, ''), 'hex');

describe('virtual functions', () => {
  it('are given an address by number', () => {
    expect(macChange(2, '52:54:00:12:34:56').toString('hex')).toBe(
      bytes(`
        3000 1680           // IFLA_VFINFO_LIST, nested
        2c00 0180           // IFLA_VF_INFO, nested
        2800 0100           // IFLA_VF_MAC, struct ifla_vf_mac
        02000000            // function 2
        525400123456 ${'00'.repeat(26)}
      `).toString('hex'),
    );
  });

  it('are given a VLAN, or none', () => {
    expect(vlanChange(1, { vlan: 42, qos: 3 }).toString('hex')).toBe(
      bytes(`
        1800 1680 1400 0180
        1000 0200           // IFLA_VF_VLAN, struct ifla_vf_vlan
        01000000 2a000000 03000000
      `).toString('hex'),
    );
    expect(vlanChange(0, { vlan: 0, qos: 0 }).subarray(-12)).toEqual(Buffer.alloc(12));
  });

  const message = bytes(`
    ${'00'.repeat(16)}    // struct ifinfomsg
    0800 1500 02000000    // IFLA_NUM_VF: 2
    7000 1600             // IFLA_VFINFO_LIST
    3c00 0100             // IFLA_VF_INFO
    2800 0100 00000000 020000000007 ${'00'.repeat(26)}
    1000 0200 00000000 05000000 01000000
    2c00 0100
    2800 0100 01000000 000000000000 ${'00'.repeat(26)}
    0400 0900             // something of a newer kernel
  `);

  it('are told with what they have; without a word about VLANs there is none', () => {
    expect(parseFunctions(message)).toEqual(
      new Map([
        [0, { mac: '02:00:00:00:00:07', vlan: 5, qos: 1 }],
        [1, { mac: '00:00:00:00:00:00', vlan: 0, qos: 0 }],
      ]),
    );
  });

  it('that are cut short are none, and no error', () => {
    for (let length = 16; length < message.length; length++)
      expect(parseFunctions(message.subarray(0, length)).size).toBeLessThanOrEqual(2);
    expect(parseFunctions(Buffer.alloc(16)).size).toBe(0);
  });
});
