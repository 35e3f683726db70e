/** Devices plugged in, taken out and changed. */
import type { Domain } from '../../../services/domain.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { affect, checkFlags, domainOf, impactOn } from './support.ts';

/** virDomainDeviceModifyFlags: open a tray that the guest has locked. */
const FORCE = 4;

export function domainDeviceHandlers(engine: Engine) {
  const { devices } = engine.domains;
  const attach = async (domain: Domain, xml: string, flags: number, call: Call) => {
    checkFlags(flags, affect.live | affect.config, call);
    await devices.attach(domain, { xml, mode: 'lenient' }, impactOn(domain, flags));
  };
  /** A guest that has not let go in time is no error: the event tells when it has (libvirt's manual, virDomainDetachDevice). */
  const detach = async (domain: Domain, xml: string, flags: number, call: Call) => {
    checkFlags(flags, affect.live | affect.config, call);
    await devices.detach(domain, { xml, mode: 'lenient' }, impactOn(domain, flags));
  };
  return {
    // The old calls are for running domains only.
    domainAttachDevice: ({ dom, xml }, call) => attach(domainOf(engine, dom), xml, affect.live, call),
    domainAttachDeviceFlags: ({ dom, xml, flags }, call) => attach(domainOf(engine, dom), xml, flags, call),
    domainDetachDevice: ({ dom, xml }, call) => detach(domainOf(engine, dom), xml, affect.live, call),
    domainDetachDeviceFlags: ({ dom, xml, flags }, call) => detach(domainOf(engine, dom), xml, flags, call),
    domainDetachDeviceAlias: async ({ dom, alias, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      const domain = domainOf(engine, dom);
      await devices.detach(domain, { word: alias }, impactOn(domain, flags));
    },
    domainUpdateDeviceFlags: async ({ dom, xml, flags }, call) => {
      checkFlags(flags, affect.live | affect.config | FORCE, call);
      const domain = domainOf(engine, dom);
      const force = (flags & FORCE) !== 0;
      await devices.update(domain, { xml, mode: 'lenient' }, { ...impactOn(domain, flags), force });
    },
  } satisfies RemoteHandlers;
}
