/** Devices of domains, consoles, screens and keys. Arguments and results (remote_protocol.x). */
import { array, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string } from './objects.ts';
import { call } from './procedure.ts';

export const domainDevicesProcedures = {
  domainAttachDevice: call(8, { dom: nonnullDomain, xml: nonnullString }, null, { acl: ['domain:write'] }),
  domainDetachDevice: call(13, { dom: nonnullDomain, xml: nonnullString }, null, { acl: ['domain:write'] }),
  domainAttachDeviceFlags: call(160, { dom: nonnullDomain, xml: nonnullString, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainDetachDeviceFlags: call(161, { dom: nonnullDomain, xml: nonnullString, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainUpdateDeviceFlags: call(174, { dom: nonnullDomain, xml: nonnullString, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainOpenConsole: call(201, { dom: nonnullDomain, devName: string, flags: uint }, null, {
    stream: 'read',
    acl: ['domain:open_device'],
  }),
  domainInjectNmi: call(210, { dom: nonnullDomain, flags: uint }, null, { acl: ['domain:inject_nmi'] }),
  domainScreenshot: call(
    211,
    { dom: nonnullDomain, screen: uint, flags: uint },
    { mime: string },
    { stream: 'read', acl: ['domain:screenshot'] },
  ),
  domainSendKey: call(
    226,
    {
      dom: nonnullDomain,
      codeset: uint,
      holdtime: uint,
      keycodes: array(uint, limits.domainSendKey),
      flags: uint,
    },
    null,
    { acl: ['domain:send_input'] },
  ),
  domainOpenGraphics: call(249, { dom: nonnullDomain, idx: uint, flags: uint }, null, {
    acl: ['domain:open_graphics'],
  }),
  domainOpenChannel: call(296, { dom: nonnullDomain, name: string, flags: uint }, null, {
    stream: 'read',
    acl: ['domain:open_device'],
  }),
  domainOpenGraphicsFd: call(343, { dom: nonnullDomain, idx: uint, flags: uint }, null, {
    acl: ['domain:open_graphics'],
  }),
  domainDetachDeviceAlias: call(392, { dom: nonnullDomain, alias: nonnullString, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainGraphicsReload: call(448, { dom: nonnullDomain, type: uint, flags: uint }, null, {
    acl: ['domain:write'],
  }),
} as const;
