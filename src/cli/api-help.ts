/** Help texts of options that stand for one param of one method: taken from its declaration. */
import { type MethodName, methods } from '../api/index.ts';

/** A schema as far as help needs it. */
interface Described {
  readonly description?: string | undefined;
  readonly shape?: Readonly<Record<string, Described>>;
}

/** What a method does, as its declaration says. */
export function methodSummary(name: MethodName): string {
  return methods[name].summary;
}

/**
 * What a param means, as its declaration says. A param without a description is a bug of ours: every command's help
 * is built in a test.
 */
export function paramHelp(name: MethodName, param: string): string {
  const schema: Described = methods[name].params;
  const description = schema.shape?.[param]?.description;
  if (description === undefined) throw new Error(`${name}: param '${param}' has no description`);
  return description;
}
