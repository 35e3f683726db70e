/** Definitions of domains: XML out, define, undefine, rename, autostart. */

import { leavesToHost } from '../../../../model/domain/cpu.ts';
import type { Domain } from '../../../services/domain.ts';
import type { XmlOptions } from '../../../services/domain-definitions.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { validate } from './schema.ts';
import { checkFlags, domainOf, invalid, notValid, telling, wireDomainOf } from './support.ts';

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
      const has = (bit: number) => (flags & bit) !== 0;
      const options = {
        inactive: has(xmlFlag.inactive),
        // What another host takes has no holes: clients that may not see secrets may not ask for it.
        secure: has(xmlFlag.secure | xmlFlag.migratable),
        migratable: has(xmlFlag.migratable),
      };
      const domain = domainOf(engine, dom);
      if (!has(xmlFlag.updateCpu)) return { xml: definitions.xml(domain, options) };
      return xmlWithCpu(engine, domain, options);
    },
    domainDefineXml: ({ xml }) => define(xml),
    domainDefineXmlFlags: async ({ xml, flags }, call) => {
      checkFlags(flags, defineFlag.validate, call);
      // With the flag what is not known is an error; without it, it is left out, as libvirt does.
      if ((flags & defineFlag.validate) !== 0) await validate('domain', xml);
      return define(xml);
    },
    domainUndefine: ({ dom }) => forget(engine, persistent(domainOf(engine, dom), 'undefine'), {}),
    domainUndefineFlags: ({ dom, flags }, call) =>
      undefine(engine, persistent(domainOf(engine, dom), 'undefine'), flags, call),
    domainRename: async ({ dom, newName, flags }, call) => {
      checkFlags(flags, 0, call);
      if (newName === null || newName === '') throw invalid('a new name is needed');
      const domain = persistent(domainOf(engine, dom), 'rename');
      if (domain.isActive) throw notValid('cannot rename active domain');
      if (domain.name === newName) throw notValid("Can't rename domain to itself");
      const taken = () => notValid(`domain with name '${newName}' already exists`);
      const saved = () => notValid("domain with a managed saved state can't be renamed");
      await telling('saved-state.exists', saved, () =>
        telling('domain.exists', taken, () => definitions.rename(domain, newName)),
      );
      return { retcode: 0 };
    },
    domainGetAutostartOnce: ({ dom }) => ({ autostart: domainOf(engine, dom).autostartOnce ? 1 : 0 }),
    domainSetAutostartOnce: ({ dom, autostart }) =>
      definitions.setAutostartOnce(persistent(domainOf(engine, dom), 'set autostart for'), autostart !== 0),
    domainGetAutostart: ({ dom }) => ({ autostart: domainOf(engine, dom).autostart ? 1 : 0 }),
    domainSetAutostart: ({ dom, autostart }) =>
      definitions.setAutostart(persistent(domainOf(engine, dom), 'set autostart for'), autostart !== 0),
  } satisfies RemoteHandlers;
}

/** The definition with the CPU that a guest gets here, where it leaves something to the host. */
async function xmlWithCpu(engine: Engine, domain: Domain, options: XmlOptions): Promise<{ xml: string }> {
  const { definitions } = engine.domains;
  const definition = definitions.definition(domain, options);
  if (definition.cpu === undefined || !leavesToHost(definition.cpu))
    return { xml: definitions.xml(domain, options) };
  const expanded = await engine.cpus.expandHostModel(definition);
  return { xml: definitions.xml(domain, options, expanded) };
}

/** @throws LibvirtError for a domain that is only running */
function persistent(domain: Domain, verb: string): Domain {
  if (domain.isPersistent) return domain;
  throw notValid(`cannot ${verb} transient domain`);
}

function undefine(engine: Engine, domain: Domain, flags: number, call: Call): Promise<void> {
  const known = Object.values(undefineFlag).reduce((all, bit) => all | bit, 0);
  checkFlags(flags, known, call);
  const has = (bit: number) => (flags & bit) !== 0;
  if (has(undefineFlag.nvram) && has(undefineFlag.keepNvram))
    throw notValid('cannot both keep and delete nvram');
  if (has(undefineFlag.tpm) && has(undefineFlag.keepTpm)) throw notValid('cannot both keep and delete TPM');
  const nvram = has(undefineFlag.nvram) ? 'remove' : has(undefineFlag.keepNvram) ? 'keep' : undefined;
  const tpm = has(undefineFlag.tpm) ? 'remove' : has(undefineFlag.keepTpm) ? 'keep' : undefined;
  return forget(engine, domain, {
    ...(tpm !== undefined && { tpm }),
    ...(nvram !== undefined && { nvram }),
    ...(has(undefineFlag.managedSave) && { managedSave: 'remove' as const }),
    forgetSnapshots: has(undefineFlag.snapshotsMetadata),
    forgetCheckpoints: has(undefineFlag.checkpointsMetadata),
  });
}

type UndefineOptions = NonNullable<Parameters<Engine['domains']['definitions']['undefine']>[1]>;

function forget({ domains }: Engine, domain: Domain, options: UndefineOptions): Promise<void> {
  const refused = () => notValid('Refusing to undefine while domain managed save image exists');
  return telling('saved-state.exists', refused, () => domains.definitions.undefine(domain, options));
}
