/** Variables in filter rules (`$IP`, `$PORTS[@1]`, `$IP[0]`): from one rule as written to the rules it stands for. Pure. */
import { VirtError } from '../../base/errors.ts';

/** Lists by name; a name that is missing is an error where it is used. */
export type FilterVariables = Readonly<Record<string, readonly string[]>>;

/** Stands for addresses that are learned from what the guest uses: a set of the kernel's. */
export const LEARNED = '@learned';

/** One rule may stand for that many at most; a product of long lists is a mistake. */
const MAX_INSTANCES = 4096;

/** `$NAME`, with an index of the list or an iterator's number in brackets. */
const reference = /^\$(\w{1,256})(?:\[(@?)(\d{1,5})\])?$/;

export const isReference = (value: string): boolean => value.startsWith('$');

interface Reference {
  readonly attribute: string;
  readonly variable: string;
  readonly values: readonly string[];
  /** Variables of one iterator advance together; each other iterator multiplies the rules. */
  readonly iterator: number;
}

/**
 * All rules that one stands for: none when a variable is an empty list.
 * @throws VirtError definition.unsupported, when a variable has no value or lists of one iterator differ in length
 */
export function instancesOf(
  values: Readonly<Record<string, string>>,
  variables: FilterVariables,
): Readonly<Record<string, string>>[] {
  const references = Object.entries(values)
    .filter(([, value]) => isReference(value))
    .map(([attribute, value]) => resolve(attribute, value, variables));
  const groups = [...Map.groupBy(references, ({ iterator }) => iterator).values()];
  return groups.reduce<Readonly<Record<string, string>>[]>(
    (rules, group) => product(rules, choicesOf(group)),
    [values],
  );
}

function product(
  rules: readonly Readonly<Record<string, string>>[],
  choices: readonly Readonly<Record<string, string>>[],
): Readonly<Record<string, string>>[] {
  if (rules.length * choices.length > MAX_INSTANCES)
    throw refusal(`a rule would stand for more than ${MAX_INSTANCES} rules`);
  return rules.flatMap((rule) => choices.map((choice) => ({ ...rule, ...choice })));
}

/** The values of one iterator's attributes, step by step. */
function choicesOf(group: readonly Reference[]): Readonly<Record<string, string>>[] {
  const [first] = group;
  if (first === undefined) return [];
  const odd = group.find(({ values }) => values.length !== first.values.length);
  if (odd)
    throw refusal(
      `the lists ${first.variable} and ${odd.variable} are used together and differ in length`,
      'give both as many values, or use one of them as $NAME[@1]',
    );
  return first.values.map((_, step) =>
    Object.fromEntries(group.map(({ attribute, values }) => [attribute, values[step] ?? ''])),
  );
}

function resolve(attribute: string, text: string, variables: FilterVariables): Reference {
  const [, variable = '', at, number] = reference.exec(text) ?? [];
  if (variable === '') throw refusal(`'${text}' is no variable`);
  const values = variables[variable];
  if (values === undefined)
    throw refusal(
      `the parameter ${variable} is missing`,
      `add <parameter name='${variable}' value='…'/> to the filterref`,
    );
  if (number === undefined || at === '@')
    return { attribute, variable, values, iterator: Number(number ?? 0) };
  const value = values[Number(number)];
  if (value === undefined) throw refusal(`the parameter ${variable} has no value number ${number}`);
  // An index picks one value and moves with nobody.
  return { attribute, variable, values: [value], iterator: -1 };
}

export function refusal(reason: string, hint?: string): VirtError {
  return new VirtError('definition.unsupported', { reason, ...(hint !== undefined && { hint }) });
}
