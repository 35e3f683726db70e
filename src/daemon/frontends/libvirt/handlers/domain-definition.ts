/** Definitions of domains: XML out, define, undefine, rename, autostart. */

import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseDomain } from '../../../../model/domain/domain.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, domainOf, invalid, wireDomainOf } from './support.ts';

/** virDomainXMLFlags. */
const xmlFlag = { secure: 1, inactive: 2, updateCpu: 4, migratable: 8 } as const;
const allXmlFlags = 0xf;
const defineFlag = { validate: 1 } as const;

/** virDomainUndefineFlagsValues. */
const undefineFlag = {
  managedSave: 1,
  snapshotsMetadata: 2,
  nvram: 4,
  keepNvram: 8,
  checkpointsMetadata: 16,
  tpm: 32,
  keepTpm: 64,
} as const;

export function domainDefinitionHandlers(engine: Engine) {
  const { definitions } = engine.domains;
  const define = async (xml: string) => {
    const { domain } = await definitions.define(xml, { mode: 'lenient' });
    return { dom: wireDomainOf(domain) };
  };
  return {
    domainGetXmlDesc: ({ dom, flags }, call) => {
      checkFlags(flags, allXmlFlags, call);
      const isMigratable = (flags & xmlFlag.migratable) !== 0;
      const xml = definitions.xml(domainOf(engine, dom), {
        // What another host takes is the stored form: ids, aliases and chosen ports live here only.
        inactive: isMigratable || (flags & xmlFlag.inactive) !== 0,
        secure: (flags & xmlFlag.secure) !== 0,
      });
      return { xml };
    },
    domainDefineXml: ({ xml }) => define(xml),
    domainDefineXmlFlags: ({ xml, flags }, call) => {
      checkFlags(flags, defineFlag.validate, call);
      // With the flag what is not known is an error; without it, it is left out, as libvirt does.
      if ((flags & defineFlag.validate) !== 0) parseDomain(xml, { mode: 'strict' });
      return define(xml);
    },
    domainUndefine: ({ dom }) => definitions.undefine(domainOf(engine, dom)),
    domainUndefineFlags: ({ dom, flags }, call) => undefine(engine, domainOf(engine, dom), flags, call),
    domainRename: async ({ dom, newName, flags }, call) => {
      checkFlags(flags, 0, call);
      if (newName === null || newName === '') throw invalid('a new name is needed');
      await definitions.rename(domainOf(engine, dom), newName);
      return { retcode: 0 };
    },
    domainGetAutostart: ({ dom }) => ({ autostart: domainOf(engine, dom).autostart ? 1 : 0 }),
    domainSetAutostart: ({ dom, autostart }) =>
      definitions.setAutostart(domainOf(engine, dom), autostart !== 0),
  } satisfies RemoteHandlers;
}

/** Saved states, snapshots and checkpoints have no engine yet, so there is nothing of them to forget. */
function undefine(engine: Engine, domain: Domain, flags: number, call: Call): Promise<void> {
  const known = Object.values(undefineFlag).reduce((all, bit) => all | bit, 0);
  checkFlags(flags, known, call);
  const has = (bit: number) => (flags & bit) !== 0;
  if (has(undefineFlag.nvram) && has(undefineFlag.keepNvram))
    throw new LibvirtError(errorNumber.invalidArg, 'cannot both keep and delete nvram');
  if (has(undefineFlag.tpm) && has(undefineFlag.keepTpm))
    throw new LibvirtError(errorNumber.invalidArg, 'cannot both keep and delete TPM');
  const nvram = has(undefineFlag.nvram) ? 'remove' : has(undefineFlag.keepNvram) ? 'keep' : undefined;
  return engine.domains.definitions.undefine(domain, nvram === undefined ? {} : { nvram });
}
