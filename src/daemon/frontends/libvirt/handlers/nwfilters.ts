/** Network filters and where they are in force. A session has none: its lists are empty, and changes are refused. */
import { VirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { type FilterBinding, formatFilterBinding } from '../../../../model/nwfilter/binding.ts';
import { parseFilter } from '../../../../model/nwfilter/document.ts';
import type { FilterObject, NwFilterService } from '../../../services/nwfilter-service.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { atMost, checkFlags } from './support.ts';

const DEFINE_VALIDATE = 1; // virNWFilterDefineFlags

const wireFilterOf = ({ name, uuid }: FilterObject) => ({ name, uuid });

const wireBindingOf = ({ device, filter }: FilterBinding) => ({ portdev: device, filtername: filter });

/** @throws VirtError network.session */
function filtersOf({ nwfilters }: Engine): NwFilterService {
  if (nwfilters !== undefined) return nwfilters;
  throw new VirtError('network.session', {
    wanted: 'change network filters',
    reason: 'rules on bridges need the system connection (qemu:///system)',
  });
}

/** By name or by uuid alone: a name may look like the uuid of another. @throws LibvirtError no network filter */
function filterWith(engine: Engine, key: 'name' | 'uuid', value: string): FilterObject {
  const found = engine.nwfilters?.list().find((one) => one[key] === value);
  if (found !== undefined) return found;
  const reason = `no nwfilter with matching ${key} '${value}'`;
  throw new LibvirtError(errorNumber.noNwfilter, reason, errorDomain.nwfilter);
}

/** @throws LibvirtError no network filter binding */
function bindingOf(engine: Engine, device: string): FilterBinding {
  const found = engine.nwfilters?.bindings().find((one) => one.device === device);
  if (found !== undefined) return found;
  throw new LibvirtError(
    errorNumber.noNwfilterBinding,
    `no nwfilter binding for port dev '${device}'`,
    errorDomain.nwfilter,
  );
}

export function nwFilterHandlers(engine: Engine) {
  return { ...filters(engine), ...changes(engine), ...bindings(engine) } satisfies RemoteHandlers;
}

function filters(engine: Engine) {
  const list = () => engine.nwfilters?.list() ?? [];
  return {
    connectNumOfNwfilters: () => ({ num: list().length }),
    connectListNwfilters: ({ maxnames }) => ({
      names: atMost(
        list().map(({ name }) => name),
        maxnames,
      ),
    }),
    connectListAllNwfilters: ({ needResults, flags }, call) => {
      checkFlags(flags, 0, call);
      const found = list();
      return { filters: needResults === 0 ? [] : found.map(wireFilterOf), ret: found.length };
    },
    nwfilterLookupByName: ({ name }) => ({ nwfilter: wireFilterOf(filterWith(engine, 'name', name)) }),
    nwfilterLookupByUuid: ({ uuid }) => ({ nwfilter: wireFilterOf(filterWith(engine, 'uuid', uuid)) }),
    nwfilterGetXmlDesc: ({ nwfilter, flags }, call) => {
      checkFlags(flags, 0, call);
      return { xml: filtersOf(engine).xml(filterWith(engine, 'uuid', nwfilter.uuid)) };
    },
  } satisfies RemoteHandlers;
}

function changes(engine: Engine) {
  const define = async (xml: string) => {
    const { filter } = await filtersOf(engine).define(xml, 'lenient');
    return { nwfilter: wireFilterOf(filter) };
  };
  return {
    nwfilterDefineXml: ({ xml }) => define(xml),
    nwfilterDefineXmlFlags: ({ xml, flags }, call) => {
      checkFlags(flags, DEFINE_VALIDATE, call);
      // With the flag what is not known is an error; without it, it is left out, as libvirt does.
      if ((flags & DEFINE_VALIDATE) !== 0) parseFilter(xml, { mode: 'strict' });
      return define(xml);
    },
    nwfilterUndefine: async ({ nwfilter }) => {
      await filtersOf(engine).undefine(filterWith(engine, 'uuid', nwfilter.uuid).uuid);
    },
  } satisfies RemoteHandlers;
}

const BINDING_CREATE_VALIDATE = 1; // virNWFilterBindingCreateFlags

/** A tap whose rules a client could take away would be a guest without its filter. */
function refused(): LibvirtError {
  return new LibvirtError(
    errorNumber.operationUnsupported,
    'bindings of filters come and go with the network cards that they are for',
    errorDomain.nwfilter,
  );
}

/** Only looked at: the daemon makes and ends them with the taps of guests. */
function bindings(engine: Engine) {
  return {
    connectListAllNwfilterBindings: ({ needResults, flags }, call) => {
      checkFlags(flags, 0, call);
      const found = engine.nwfilters?.bindings() ?? [];
      return { bindings: needResults === 0 ? [] : found.map(wireBindingOf), ret: found.length };
    },
    nwfilterBindingLookupByPortDev: ({ name }) => ({ nwfilter: wireBindingOf(bindingOf(engine, name)) }),
    nwfilterBindingCreateXml: ({ flags }, call) => {
      checkFlags(flags, BINDING_CREATE_VALIDATE, call);
      throw refused();
    },
    nwfilterBindingDelete: ({ nwfilter }) => {
      bindingOf(engine, nwfilter.portdev);
      throw refused();
    },
    nwfilterBindingGetXmlDesc: ({ nwfilter, flags }, call) => {
      checkFlags(flags, 0, call);
      return { xml: formatFilterBinding(bindingOf(engine, nwfilter.portdev)) };
    },
  } satisfies RemoteHandlers;
}
