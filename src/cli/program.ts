/** The command tree: every noun and verb, and the short forms of the usual ones. */
import { Command } from 'commander';
import type { Cli, GlobalOptions } from './cli.ts';
import { addAdopt } from './commands/adopt.ts';
import { addBackup } from './commands/backup.ts';
import { addCheckpoint } from './commands/checkpoint.ts';
import type { AddCommand } from './commands/command.ts';
import { addComplete, addCompletion } from './commands/completion.ts';
import { addCall, addDaemon } from './commands/daemon.ts';
import { addAddresses } from './commands/domain-addresses.ts';
import { addClone, addTemplate } from './commands/domain-clone.ts';
import { addConsole } from './commands/domain-console.ts';
import { addCreate } from './commands/domain-create.ts';
import {
  addCreateXml,
  addDefine,
  addDelete,
  addEdit,
  addUndefine,
  addXml,
} from './commands/domain-define.ts';
import { addAttach, addDetach, addMedia, addUpdate } from './commands/domain-devices.ts';
import { addForward } from './commands/domain-forward.ts';
import { addExec, addGuest } from './commands/domain-guest.ts';
import { addIothread, addSetMemoryStatsPeriod } from './commands/domain-hardware.ts';
import {
  addCommandLine,
  addJob,
  addLog,
  addQmp,
  addScreenshot,
  addSendKey,
  addWait,
} from './commands/domain-inspect.ts';
import { addNetStats, addSetBandwidth, addSetLink } from './commands/domain-interfaces.ts';
import { addLimits, addSetLimits } from './commands/domain-limits.ts';
import { addList, addShow } from './commands/domain-list.ts';
import { addDirtyRate, addPerf } from './commands/domain-measuring.ts';
import { addPlan } from './commands/domain-plan.ts';
import {
  addDestroy,
  addNmi,
  addReboot,
  addReset,
  addResume,
  addShutdown,
  addStart,
  addSuspend,
} from './commands/domain-power.ts';
import { addBugReport, addRecord } from './commands/domain-report.ts';
import { addDump, addManagedSave, addRestore, addSave, addSaveImage } from './commands/domain-save.ts';
import {
  addAutostart,
  addDescription,
  addLifecycleAction,
  addMetadata,
  addRename,
  addTitle,
} from './commands/domain-settings.ts';
import { addStats } from './commands/domain-stats.ts';
import { addThrottleGroup } from './commands/domain-throttle-groups.ts';
import {
  addDisk,
  addPin,
  addSetMemory,
  addSetVcpu,
  addSetVcpus,
  addThreads,
} from './commands/domain-tuning.ts';
import { addEvents } from './commands/events.ts';
import { addFilter } from './commands/filter.ts';
import { addHost } from './commands/host.ts';
import { addImage } from './commands/image.ts';
import { addJobs } from './commands/job.ts';
import { addLaunchSecurity, addSetLaunchSecret } from './commands/launch-security.ts';
import { addNetwork } from './commands/network.ts';
import { addPool } from './commands/pool.ts';
import { addPowerOrder } from './commands/power-order.ts';
import { addRun } from './commands/run.ts';
import { addSecret } from './commands/secret.ts';
import { addSnapshot } from './commands/snapshot.ts';
import { addSshHelper } from './commands/ssh-helper.ts';
import { addUndo } from './commands/undo.ts';
import { addVolume } from './commands/volume.ts';
import { exitCodeMeanings } from './exit-codes.ts';
import { VERSION } from './version.ts';

/** Verbs of domains with a short form: `vireo start web` is `vireo domain start web`. */
const shortVerbs: readonly AddCommand[] = [
  addList,
  addShow,
  addCreate,
  addDefine,
  addPlan,
  addStart,
  addShutdown,
  addReboot,
  addSuspend,
  addResume,
  addDestroy,
  addSave,
  addRestore,
  addManagedSave,
  addDelete,
  addUndefine,
  addAttach,
  addDetach,
  addMedia,
  addConsole,
  addXml,
  addEdit,
  addLog,
  addWait,
  addAddresses,
  addForward,
  addAutostart,
  addLifecycleAction,
  addRename,
  addClone,
  addScreenshot,
  addStats,
  addExec,
];

/** Verbs that are used seldom enough to be found below `domain` only. */
const longVerbs: readonly AddCommand[] = [
  addCreateXml,
  addReset,
  addNmi,
  addSaveImage,
  addPowerOrder,
  addDump,
  addSendKey,
  addTitle,
  addDescription,
  addMetadata,
  addUpdate,
  addSetLink,
  addSetBandwidth,
  addNetStats,
  addSetMemory,
  addSetVcpus,
  addSetVcpu,
  addPin,
  addThreads,
  addIothread,
  addSetMemoryStatsPeriod,
  addLimits,
  addSetLimits,
  addPerf,
  addDirtyRate,
  addLaunchSecurity,
  addSetLaunchSecret,
  addDisk,
  addThrottleGroup,
  addGuest,
  addCommandLine,
  addQmp,
  addJob,
  addRecord,
  addBugReport,
];

/** Builds the whole tree. Parse errors are thrown as CommanderError, never end the process. */
export function buildProgram(cli: Cli): Command {
  const program = new Command('vireo');
  // Before any subcommand exists, since they inherit these settings.
  program
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void cli.world.stdout.write(text),
      writeErr: (text) => void cli.world.stderr.write(text),
      // Errors are told by main.ts, as text or as JSON.
      outputError: () => undefined,
    })
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .showSuggestionAfterError(true);
  program
    .description('Manages QEMU/KVM guests: talks to vireod, the Vireo daemon.')
    .version(VERSION, '-V, --version', 'Print the version.')
    .helpOption('-h, --help', 'Show help.')
    .option('-c, --connect <uri>', 'qemu:///system, qemu:///session, or the path of a socket.')
    .option('--root <dir>', 'Talk to the daemon whose files are below this directory.')
    .option('--json', 'Print one JSON document, errors too.')
    .option('--no-color', 'No colours, even on a terminal.')
    .addHelpText('after', helpTail)
    .hook('preAction', () => cli.configure(program.opts<GlobalOptions>()));
  addNouns(program, cli);
  return program;
}

function addNouns(program: Command, cli: Cli): void {
  program.commandsGroup('Commands:');
  addRun(program, cli);
  addEvents(program, cli);
  const domain = program
    .command('domain')
    .summary('everything about domains')
    .description('Manages domains.');
  for (const add of [...shortVerbs, ...longVerbs]) add(domain, cli);
  addSnapshot(program, cli);
  addTemplate(program, cli);
  addCheckpoint(program, cli);
  addBackup(program, cli);
  addNetwork(program, cli);
  addFilter(program, cli);
  addSecret(program, cli);
  addPool(program, cli);
  addVolume(program, cli);
  addImage(program, cli);
  addHost(program, cli);
  addJobs(program, cli);
  addUndo(program, cli);
  addAdopt(program, cli);
  addDaemon(program, cli);
  addCall(program, cli);
  addCompletion(program, cli);
  program.commandsGroup('Short for vireo domain ...:');
  for (const add of shortVerbs) add(program, cli);
  addComplete(program, cli);
  addSshHelper(program, cli);
}

const helpTail = `
Exit status:
${exitCodeMeanings.map(([code, meaning]) => `  ${String(code).padEnd(5)}${meaning}`).join('\n')}

Without -c or the variable VIREO_DEFAULT_URI, root talks to the system daemon, and
everybody else to a session daemon of their own, which is started when needed.`;
