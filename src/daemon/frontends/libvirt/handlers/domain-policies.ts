/** Lifecycle actions, limits of network cards, and a display's certificates, of guests that run or not. */
import { isVirtError } from '../../../../base/errors.ts';
import { perfEvents } from '../../../../model/domain/perf-events.ts';
import type { Domain } from '../../../services/domain.ts';
import type { LifecycleAction, LifecycleEvent } from '../../../services/domain-policies.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { limitParams, limitTable, limitWish } from './bandwidth-params.ts';
import { bool, counted, type ParamTable, readParams } from './params.ts';
import { affect, bareInvalid, checkFlags, domainOf, impactOn, invalid } from './support.ts';

/** virDomainLifecycle and virDomainLifecycleAction, by number. */
const lifecycleEvents: readonly LifecycleEvent[] = ['onPoweroff', 'onReboot', 'onCrash'];
const actionNumbers: readonly LifecycleAction[] = [
  'destroy',
  'restart',
  'rename-restart',
  'preserve',
  'coredump-destroy',
  'coredump-restart',
];

const perfTable: ParamTable = Object.fromEntries(perfEvents.map((name) => [name, 'boolean']));

const bothSides = affect.live | affect.config;
/** virTypedParameterFlags: the client takes texts. */
const STRING_OKAY = 4;
/** virDomainGraphicsReloadType: any, VNC. */
const graphicsType = { any: 0, vnc: 1 } as const;

export function domainPolicyHandlers(engine: Engine) {
  return {
    ...policies(engine),
    ...perfCounters(engine),
    ...cardLimits(engine),
  } satisfies RemoteHandlers;
}

/** What happens at its end, and the certificates of its display. */
function policies(engine: Engine) {
  const { policies, definitions } = engine.domains;
  return {
    domainSetLifecycleAction: async ({ dom, type, action, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const event = lifecycleEvents[type];
      const wanted = actionNumbers[action];
      if (event === undefined || wanted === undefined)
        throw invalid(`lifecycle event ${type} with action ${action}`);
      const domain = domainOf(engine, dom);
      await policies.setAction(domain, event, wanted, impactOn(domain, flags));
    },
    domainGraphicsReload: async ({ dom, type, flags }, call) => {
      checkFlags(flags, 0, call);
      if (type > graphicsType.vnc) throw bareInvalid(`type must be less than ${graphicsType.vnc + 1}`);
      const domain = domainOf(engine, dom);
      const { graphics } = definitions.definition(domain).devices;
      // "Any" of a guest without VNC is nothing to be done.
      if (type === graphicsType.any && !graphics.some((one) => one.type === 'vnc')) return;
      await policies.reloadGraphics(domain);
    },
  } satisfies RemoteHandlers;
}

/** Counters of the processor. */
function perfCounters(engine: Engine) {
  const { perf } = engine.domains;
  return {
    domainGetPerfEvents: ({ dom, flags }, call) => {
      checkFlags(flags, bothSides | STRING_OKAY, call);
      const domain = domainOf(engine, dom);
      const { live } = impactOn(domain, flags & bothSides);
      return {
        params: perf.events(domain, { inactive: !live }).map(({ name, enabled }) => bool(name, enabled)),
      };
    },
    domainSetPerfEvents: async ({ dom, params, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const given = readParams(params, perfTable);
      const domain = domainOf(engine, dom);
      const targets = impactOn(domain, flags);
      const wish = perfEvents.filter((name) => given.has(name));
      await perf.set(domain, new Map(wish.map((name) => [name, Number(given.get(name)) !== 0])), targets);
    },
  } satisfies RemoteHandlers;
}

/** Limits of network cards. */
function cardLimits(engine: Engine) {
  const { interfaces } = engine.domains;
  const cardOf = (domain: Domain, device: string, inactive: boolean) => {
    try {
      return interfaces.find(domain, device, { inactive });
    } catch (error) {
      throw isVirtError(error, 'domain.no-device') ? invalid(`'${device}' is not a known interface`) : error;
    }
  };
  return {
    domainGetInterfaceParameters: ({ dom, device, nparams, flags }, call) => {
      checkFlags(flags, bothSides | STRING_OKAY, call);
      const domain = domainOf(engine, dom);
      const { live } = impactOn(domain, flags & bothSides);
      if (nparams === 0) return { params: [], nparams: Object.keys(limitTable).length };
      const nic = cardOf(domain, device, !live);
      return counted(limitParams(nic.bandwidth), nparams);
    },
    domainSetInterfaceParameters: async ({ dom, device, params, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      const targets = impactOn(domain, flags);
      const { bandwidth } = cardOf(domain, device, !targets.live);
      await interfaces.setBandwidth(
        domain,
        device,
        limitWish(readParams(params, limitTable), bandwidth),
        targets,
      );
    },
  } satisfies RemoteHandlers;
}
