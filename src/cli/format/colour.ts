/** Colours for terminals, by name of what they say. */

export type Tone = 'plain' | 'good' | 'warning' | 'bad' | 'quiet' | 'strong';

// ECMA-48 SGR parameters.
const sgr: Readonly<Record<Tone, string>> = {
  plain: '',
  good: '32',
  warning: '33',
  bad: '31',
  quiet: '2',
  strong: '1',
};

/** Paints a text, or hands it back as it is. */
export type Paint = (tone: Tone, text: string) => string;

export const noColour: Paint = (_tone, text) => text;

export const withColour: Paint = (tone, text) =>
  tone === 'plain' || text === '' ? text : `\u001b[${sgr[tone]}m${text}\u001b[0m`;

/**
 * The paint for a stream: colours only on a terminal that is not `dumb`, and never when the user said no, on the
 * command line or by NO_COLOR (no-color.org: set and not empty).
 */
export function paintFor(
  stream: { readonly isTTY?: boolean },
  options: { readonly allowed: boolean; readonly env: Readonly<Record<string, string | undefined>> },
): Paint {
  const { allowed, env } = options;
  const refused = !allowed || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return stream.isTTY === true && !refused ? withColour : noColour;
}

/** The tone a domain's state is shown in. */
export function stateTone(state: string): Tone {
  switch (state) {
    case 'running':
      return 'good';
    case 'paused':
    case 'pmsuspended':
    case 'shutdown':
    case 'blocked':
      return 'warning';
    case 'crashed':
      return 'bad';
    default:
      return 'quiet';
  }
}
