/** Names of monitor events as a client asks for them: one name, or a pattern. */
import { bareInvalid, checkFlags } from '../handlers/support.ts';

/** virConnectDomainQemuMonitorEventRegisterFlags. */
const flag = { regex: 1, noCase: 2 } as const;

const MAX_PATTERN = 256;
/** With so many repetitions a name of 60 characters is matched in at most some 200,000 steps. */
const MAX_REPETITIONS = 3;

/**
 * All events where no name is given.
 * @throws LibvirtError for a pattern that is none, or that could take long to match: it is matched in the daemon, for
 *   every event, so repetitions of groups and references back are refused
 */
export function monitorFilter(event: string | null, flags: number): (name: string) => boolean {
  checkFlags(flags, flag.regex | flag.noCase, { name: 'connectDomainMonitorEventRegister' });
  if (event === null) return () => true;
  const ignoresCase = (flags & flag.noCase) !== 0;
  if ((flags & flag.regex) === 0) {
    const wanted = ignoresCase ? event.toUpperCase() : event;
    return (name) => (ignoresCase ? name.toUpperCase() : name) === wanted;
  }
  const pattern = compile(event, ignoresCase);
  return (name) => pattern.test(name);
}

function compile(text: string, ignoresCase: boolean): RegExp {
  const repetitions = text.match(/[*+?{]/g)?.length ?? 0;
  const isHard = /\)[*+?{]|\\[1-9kpPbB]|\(\?/.test(text) || repetitions > MAX_REPETITIONS;
  if (text.length > MAX_PATTERN || isHard)
    throw bareInvalid(`pattern '${text.slice(0, MAX_PATTERN)}' is too complicated for names of events`);
  try {
    return new RegExp(text, ignoresCase ? 'i' : '');
  } catch {
    throw bareInvalid(`cannot understand pattern '${text}'`);
  }
}
