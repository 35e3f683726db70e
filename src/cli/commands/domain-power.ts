/** `domain start|shutdown|reboot|reset|suspend|resume|destroy|nmi`: what changes a domain's power or its CPUs. */
import { type Command, Option } from 'commander';
import { isVirtError } from '../../base/errors.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { forEachDomain, nameOf, stateSentence, withDomain } from '../domains.ts';
import { parseDuration } from '../options/duration.ts';
import type { AddCommand } from './command.ts';
import { attachTo, startWithConsole } from './domain-console.ts';

type Mode = 'auto' | 'acpi' | 'agent';

function domainsCommand(parent: Command, name: string, summary: string): Command {
  return parent.command(name).summary(summary).argument('<domain...>', 'Names, uuids or ids.');
}

interface StartOptions {
  readonly paused?: boolean;
  readonly forceBoot?: boolean;
  readonly resetNvram?: boolean;
  readonly console?: boolean;
}

export const addStart: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'start', 'boot a domain')
    .description(methodSummary('domain.start'))
    .option('--paused', paramHelp('domain.start', 'paused'))
    .option('--force-boot', paramHelp('domain.start', 'forceBoot'))
    .option('--reset-nvram', paramHelp('domain.start', 'resetNvram'))
    .option('--console', 'Attach to its console from its first output on.')
    .action((names: string[], options: StartOptions) => start(cli, names, options));
};

async function start(cli: Cli, names: readonly string[], options: StartOptions): Promise<void> {
  const wishes = {
    paused: options.paused ?? false,
    forceBoot: options.forceBoot ?? false,
    resetNvram: options.resetNvram ?? false,
  };
  const [only, ...others] = names;
  if (options.console === true && only !== undefined && others.length === 0) {
    await withDomain(cli, only, (client, domain) => startWithConsole(cli, client, { domain, ...wishes }));
    return;
  }
  await forEachDomain(cli, names, async (client, domain) => {
    const document = await client.call('domain.start', { domain, ...wishes });
    return { document, said: stateSentence(document) };
  });
  const last = names.at(-1);
  if (options.console === true && last !== undefined && cli.exitCode === 0) await attachTo(cli, last, {});
}

interface ShutdownOptions {
  readonly mode: Mode;
  readonly wait?: boolean;
  readonly timeout?: string;
  readonly destroy?: boolean;
}

/** How long a shutdown is waited for without --timeout. */
const DEFAULT_WAIT = '2m';

const modeOption = (method: 'domain.shutdown' | 'domain.reboot') =>
  new Option('--mode <mode>', paramHelp(method, 'mode')).choices(['auto', 'acpi', 'agent']).default('auto');

export const addShutdown: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'shutdown', 'ask the guest to shut down')
    .alias('stop')
    .description(`${methodSummary('domain.shutdown')} A guest may ignore it.`)
    .addOption(modeOption('domain.shutdown'))
    .option('--wait', 'Wait until it is off.')
    .option('--timeout <time>', `How long to wait at most (default: ${DEFAULT_WAIT}).`)
    .option('--destroy', 'Wait, and end it at once when it is not off by then.')
    .action((names: string[], options: ShutdownOptions) => shutdown(cli, names, options));
};

async function shutdown(cli: Cli, names: readonly string[], options: ShutdownOptions): Promise<void> {
  const { mode, wait = false, timeout, destroy = false } = options;
  const waits = wait || destroy || timeout !== undefined;
  const timeoutMs = waits ? parseDuration('--timeout', timeout ?? DEFAULT_WAIT) : undefined;
  await forEachDomain(cli, names, async (client, domain) => {
    try {
      const summary = await client.call('domain.shutdown', {
        domain,
        mode,
        ...(timeoutMs !== undefined && { timeoutMs }),
      });
      const said =
        timeoutMs === undefined ? `Domain '${summary.name}' was asked to shut down.` : stateSentence(summary);
      return { document: summary, said };
    } catch (error) {
      if (!destroy || !isVirtError(error, 'operation.timeout')) throw error;
      cli.out.warn(`domain '${nameOf(domain)}' did not shut down in time; it is destroyed`);
      await client.call('domain.destroy', { domain });
      return { document: { destroyed: nameOf(domain) }, said: `Domain '${nameOf(domain)}' is off.` };
    }
  });
}

export const addReboot: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'reboot', 'ask the guest to reboot')
    .description(methodSummary('domain.reboot'))
    .addOption(modeOption('domain.reboot'))
    .action((names: string[], { mode }: { readonly mode: Mode }) =>
      forEachDomain(cli, names, async (client, domain) => {
        await client.call('domain.reboot', { domain, mode });
        return {
          document: { domain: nameOf(domain) },
          said: `Domain '${nameOf(domain)}' was asked to reboot.`,
        };
      }),
    );
};

export const addSuspend: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'suspend', 'stop the virtual CPUs; memory stays')
    .alias('pause')
    .description(methodSummary('domain.suspend'))
    .action((names: string[]) =>
      forEachDomain(cli, names, async (client, domain) => {
        const document = await client.call('domain.suspend', { domain });
        return { document, said: stateSentence(document) };
      }),
    );
};

export const addResume: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'resume', 'let the virtual CPUs go on')
    .alias('unpause')
    .description(methodSummary('domain.resume'))
    .action((names: string[]) =>
      forEachDomain(cli, names, async (client, domain) => {
        const document = await client.call('domain.resume', { domain });
        return { document, said: stateSentence(document) };
      }),
    );
};

export const addDestroy: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'destroy', 'end a running domain at once')
    .description(methodSummary('domain.destroy'))
    .option('--graceful', paramHelp('domain.destroy', 'graceful'))
    .action((names: string[], { graceful = false }: { readonly graceful?: boolean }) =>
      forEachDomain(cli, names, async (client, domain) => {
        const { name } = await client.call('domain.get', { domain });
        await client.call('domain.destroy', { domain, graceful });
        return { document: { domain: name }, said: `Domain '${name}' is off.` };
      }),
    );
};

export const addReset: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'reset', 'press the reset button')
    .description(methodSummary('domain.reset'))
    .action((names: string[]) =>
      forEachDomain(cli, names, async (client, domain) => {
        await client.call('domain.reset', { domain });
        return { document: { domain: nameOf(domain) }, said: `Domain '${nameOf(domain)}' was reset.` };
      }),
    );
};

export const addNmi: AddCommand = (parent, cli) => {
  domainsCommand(parent, 'nmi', 'send a non-maskable interrupt')
    .description(methodSummary('domain.inject-nmi'))
    .action((names: string[]) =>
      forEachDomain(cli, names, async (client, domain) => {
        await client.call('domain.inject-nmi', { domain });
        return { document: { domain: nameOf(domain) }, said: `Domain '${nameOf(domain)}' got an NMI.` };
      }),
    );
};
