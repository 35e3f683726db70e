/** Domain methods onto the domain service: find the domain, call the verb, shape the result. */
import type { DomainService } from '../../services/domain-service.ts';
import { bindAgent } from './bind-agent.ts';
import { bindBlockJobs } from './bind-block-jobs.ts';
import { bindClones } from './bind-clone.ts';
import { bindCreation, type CreationParts } from './bind-create.ts';
import { bindDefinitions, type DefinitionParts } from './bind-definition.ts';
import { bindDevices } from './bind-device.ts';
import { bindQueries } from './bind-domain-queries.ts';
import { bindHistory, type HistorySource } from './bind-history.ts';
import { bindInterfaces } from './bind-interface.ts';
import { bindLaunchSecurity } from './bind-launch-security.ts';
import { bindLifecycle } from './bind-lifecycle.ts';
import { bindLimits } from './bind-limits.ts';
import { bindMeasuring } from './bind-measuring.ts';
import { bindPowerOrder } from './bind-power-order.ts';
import { bindReports, type ReportSource } from './bind-report.ts';
import { bindSaves } from './bind-saves.ts';
import { bindThrottleGroups } from './bind-throttle-groups.ts';
import { bindTuning } from './bind-tuning.ts';
import { summaryOf } from './domain-shapes.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';
import { toQcodes } from './key-codes.ts';

type DomainMethod = Extract<
  keyof Handlers,
  `domain.${string}` | `save-image.${string}` | `template.${string}` | 'host.shutdown-guests'
>;
export type DomainHandlers = Pick<Handlers, DomainMethod>;

export interface DomainParts extends DefinitionParts, CreationParts {
  /** What happened around domains lately. */
  readonly reports: ReportSource;
  /** What domains used before. */
  readonly history: HistorySource;
}

export function bindDomains(parts: DomainParts): DomainHandlers {
  const { domains, networks, log } = parts;
  return {
    ...bindQueries(domains, networks),
    ...bindDefinitions(parts),
    ...bindCreation(parts),
    ...bindChanges(domains),
    ...bindLifecycle(domains, networks, log),
    ...bindControls(domains),
    ...bindDevices(domains),
    ...bindInterfaces(domains),
    ...bindTuning(domains),
    ...bindMeasuring(domains),
    ...bindLaunchSecurity(domains),
    ...bindLimits(domains),
    ...bindSaves(domains),
    ...bindPowerOrder(domains),
    ...bindThrottleGroups(domains),
    ...bindBlockJobs(domains),
    ...bindAgent(domains),
    ...bindReports(domains, parts.reports),
    ...bindClones(domains),
    ...bindHistory(domains, parts.history),
  };
}

const lifecycleEvents = { poweroff: 'onPoweroff', reboot: 'onReboot', crash: 'onCrash' } as const;

function bindChanges(domains: DomainService) {
  const find = domainFinder(domains);
  return {
    'domain.set-autostart': async ({ domain, autostart, once }) => {
      const found = find(domain);
      if (once) await domains.definitions.setAutostartOnce(found, autostart);
      else await domains.definitions.setAutostart(found, autostart);
      return {};
    },
    'domain.set-lifecycle-action': async ({ domain, event, action, ...targets }) => {
      await domains.policies.setAction(find(domain), lifecycleEvents[event], action, targets);
      return {};
    },
    'domain.rename': async ({ domain, name }) => {
      const found = find(domain);
      await domains.definitions.rename(found, name);
      return summaryOf(domains, found);
    },
    'domain.set-title': async ({ domain, title }) => {
      await domains.metadata.setTitle(find(domain), title);
      return {};
    },
    'domain.set-description': async ({ domain, description }) => {
      await domains.metadata.setDescription(find(domain), description);
      return {};
    },
    'domain.set-metadata': async ({ domain, uri, key, xml }) => {
      await domains.metadata.set(find(domain), uri, key, xml);
      return {};
    },
    'domain.port-forward.add': async ({ domain, interface: name, ...forward }) =>
      domains.controls.addPortForward(find(domain), name, forward),
    'domain.port-forward.remove': async ({ domain, interface: name, ...hostEnd }) => {
      await domains.controls.removePortForward(find(domain), name, hostEnd);
      return {};
    },
  } satisfies Partial<DomainHandlers>;
}

function bindControls(domains: DomainService) {
  const find = domainFinder(domains);
  return {
    'domain.screenshot': async ({ domain, screen }) => {
      const { mime, bytes } = await domains.controls.screenshot(find(domain), screen);
      return { mime, base64: bytes.toString('base64') };
    },
    'domain.send-key': async ({ domain, keys, codeset, holdMs }) => {
      await domains.controls.sendKeys(find(domain), toQcodes(keys, codeset), holdMs);
      return {};
    },
    'domain.inject-nmi': async ({ domain }) => {
      await domains.controls.injectNmi(find(domain));
      return {};
    },
    'domain.console': async ({ domain, console, force }) => {
      const { alias, stream } = await domains.controls.openConsole(find(domain), console, { force });
      return { result: { console: alias }, stream };
    },
    'domain.monitor-command': async ({ domain, command, arguments: args }) => ({
      return: await domains.controls.monitorCommand(find(domain), command, args),
    }),
  } satisfies Partial<DomainHandlers>;
}
