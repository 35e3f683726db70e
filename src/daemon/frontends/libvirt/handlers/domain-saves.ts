/** Saved states of domains: to files and from them, kept by the daemon, and the definitions in them. */
import type { TypedParam } from '../../../../libvirt/protocol/objects.ts';
import { saveFormats } from '../../../../model/saved-state/image.ts';
import type { RunState, SaveRequest } from '../../../services/domain-saves.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { type ParamTable, readParams } from './params.ts';
import { checkFlags, domainOf, invalid, notValid, telling } from './support.ts';

/** virDomainSaveRestoreFlags. */
const saveFlag = { bypassCache: 1, running: 2, paused: 4 } as const;
const allSaveFlags = 7;
/** virDomainSaveImageXMLFlags. */
const xmlFlag = { secure: 1 } as const;

/** VIR_DOMAIN_SAVE_PARAM_*. */
const saveParams = {
  file: 'string',
  dxml: 'string',
  image_format: 'string',
  'parallel.channels': 'int',
} as const satisfies ParamTable;

export function domainSaveHandlers(engine: Engine) {
  const { saves } = engine.domains;
  const save = (dom: Parameters<typeof domainOf>[1], to: string, request: SaveRequest) =>
    saves.save(running(engine, dom), to, request);
  return {
    domainSave: ({ dom, to }) => save(dom, to, {}),
    domainSaveFlags: ({ dom, to, dxml, flags }, call) =>
      save(dom, to, { ...requestOf(flags, call), ...xmlOf(dxml) }),
    domainSaveParams: ({ dom, params, flags }, call) => {
      const { file, xml, format, channels } = paramsOf(params);
      const request = { ...requestOf(flags, call), ...xmlOf(xml), ...(format && { format }), channels };
      // Without a file it is a managed save (virDomainSaveParams).
      return file === undefined ? managedSave(engine, dom, request) : save(dom, file, request);
    },
    domainRestore: async ({ from }) => {
      await restore(engine, from, {});
    },
    domainRestoreFlags: async ({ from, dxml, flags }, call) => {
      await restore(engine, from, { ...requestOf(flags, call), ...xmlOf(dxml) });
    },
    domainRestoreParams: async ({ params, flags }, call) => {
      const { file, xml, channels } = paramsOf(params);
      if (file === undefined) throw invalid("missing parameter 'file'");
      await restore(engine, file, { ...requestOf(flags, call), ...xmlOf(xml), channels });
    },
    domainManagedSave: ({ dom, flags }, call) => managedSave(engine, dom, requestOf(flags, call)),
    ...imageHandlers(engine),
  } satisfies RemoteHandlers;
}

/** What is kept, and what is in files. */
function imageHandlers(engine: Engine) {
  const { saves } = engine.domains;
  return {
    domainHasManagedSaveImage: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      return { result: saves.hasManagedSave(domainOf(engine, dom)) ? 1 : 0 };
    },
    domainManagedSaveRemove: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      return kept(() => saves.removeManagedSave(domainOf(engine, dom)));
    },
    domainManagedSaveGetXmlDesc: async ({ dom, flags }, call) => {
      checkFlags(flags, xmlFlag.secure, call);
      const secure = (flags & xmlFlag.secure) !== 0;
      const { xml } = await kept(async () => saves.describeManaged(domainOf(engine, dom), { secure }));
      return { xml };
    },
    domainManagedSaveDefineXml: ({ dom, dxml, flags }, call) =>
      kept(() => saves.editManaged(domainOf(engine, dom), { ...stateOf(flags, call), ...xmlOf(dxml) })),
    domainSaveImageGetXmlDesc: async ({ file, flags }, call) => {
      checkFlags(flags, xmlFlag.secure, call);
      const { xml } = await saves.describe(file, { secure: (flags & xmlFlag.secure) !== 0 });
      return { xml };
    },
    domainSaveImageDefineXml: ({ file, dxml, flags }, call) =>
      saves.edit(file, { ...stateOf(flags, call), xml: dxml }),
  } satisfies RemoteHandlers;
}

function running(engine: Engine, dom: Parameters<typeof domainOf>[1]) {
  const domain = domainOf(engine, dom);
  if (!domain.isActive) throw notValid('domain is not running');
  return domain;
}

function managedSave(engine: Engine, dom: Parameters<typeof domainOf>[1], request: SaveRequest) {
  const domain = running(engine, dom);
  if (!domain.isPersistent) throw notValid('cannot do managed save for transient domain');
  return engine.domains.saves.managedSave(domain, request);
}

async function restore(engine: Engine, from: string, request: Omit<SaveRequest, 'format'>): Promise<void> {
  const { saves } = engine.domains;
  const active = () => notValid('domain is already active');
  await telling('domain.active', active, () => saves.restore(from, request));
}

/** @throws LibvirtError in libvirt's words where the daemon keeps none */
function kept<T>(work: () => Promise<T>): Promise<T> {
  return telling('saved-state.not-found', () => notValid('domain does not have managed save image'), work);
}

function stateOf(flags: number, call: Call): { readonly state?: RunState } {
  checkFlags(flags, saveFlag.running | saveFlag.paused, call);
  return requestOf(flags, call);
}

function requestOf(flags: number, call: Call): { readonly bypassCache: boolean; readonly state?: RunState } {
  checkFlags(flags, allSaveFlags, call);
  const has = (bit: number) => (flags & bit) !== 0;
  if (has(saveFlag.running) && has(saveFlag.paused))
    throw invalid('running and paused flags are mutually exclusive');
  const state = has(saveFlag.running) ? 'running' : has(saveFlag.paused) ? 'paused' : undefined;
  return { bypassCache: has(saveFlag.bypassCache), ...(state && { state }) };
}

const xmlOf = (xml: string | null | undefined) => (xml === null || xml === undefined ? {} : { xml });

function paramsOf(params: readonly TypedParam[]) {
  const found = readParams(params, saveParams);
  const text = (name: keyof typeof saveParams) => found.get(name) as string | undefined;
  const format = saveFormats.find((name) => name === text('image_format'));
  if (text('image_format') !== undefined && format === undefined)
    throw invalid(`Invalid save image format '${text('image_format')}'`);
  const channels = found.get('parallel.channels') as number | undefined;
  if (channels !== undefined && (channels < 1 || channels > 255))
    throw invalid('number of parallel save channels must be between 1 and 255');
  return { file: text('file'), xml: text('dxml'), format, channels };
}
