/** The one error of the XDR layer: bytes that are no value of the type, or a value that the type can't carry. */

/**
 * What is wrong. `short`: the bytes end too early. `too-long`: a string, an array or a message is over its limit.
 * `trailing`: bytes are left over. `value`: a number, a word or a text that the type does not have.
 */
type XdrProblem = 'short' | 'too-long' | 'trailing' | 'value';

/** Thrown by every encoder and decoder; the message begins with the field: `dom.name: 5 items, at most 4`. */
export class XdrError extends Error {
  readonly problem: XdrProblem;
  private readonly detail: string;
  private path = '';

  constructor(problem: XdrProblem, detail: string) {
    super(detail);
    this.name = 'XdrError';
    this.problem = problem;
    this.detail = detail;
  }

  /** Tells which field it was in; called from the inside out. */
  within(field: string): this {
    this.path = this.path === '' ? field : `${field}.${this.path}`;
    this.message = `${this.path}: ${this.detail}`;
    return this;
  }
}
