/** Where a command's words go: results to stdout, everything said about them to stderr. */
import { oneLine } from '../../base/errors.ts';
import { type Paint, paintFor } from './colour.ts';
import { errorDocument, formatError } from './error.ts';
import { type Column, type Fact, formatFacts, formatTable } from './table.ts';

/** A stream to write to; a terminal has columns. */
export type Sink = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

export interface OutputOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly isJson: boolean;
  readonly allowColour: boolean;
}

/** One command's output. With `--json` exactly one document goes to stdout, and people's words are left out. */
export class Output {
  readonly isJson: boolean;
  readonly paint: Paint;
  readonly #stdout: Sink;
  readonly #stderr: Sink;
  readonly #paintErrors: Paint;

  constructor(options: OutputOptions) {
    const colours = { allowed: options.allowColour, env: options.env };
    this.isJson = options.isJson;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.paint = paintFor(options.stdout, colours);
    this.#paintErrors = paintFor(options.stderr, colours);
  }

  /** The command's result: the document with --json, else what `forPeople` makes of it. */
  result(document: unknown, forPeople: () => string): void {
    this.#stdout.write(this.isJson ? `${JSON.stringify(document, undefined, 2)}\n` : forPeople());
  }

  /** One JSON document in one line, for streams of them (`events --json`). */
  jsonLine(document: unknown): void {
    this.#stdout.write(`${JSON.stringify(document)}\n`);
  }

  /** Text for people on stdout, as it is. */
  write(text: string | Uint8Array): void {
    this.#stdout.write(text);
  }

  table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
    return formatTable(rows, columns, { width: this.width, paint: this.paint });
  }

  facts(facts: readonly Fact[]): string {
    return formatFacts(facts, { paint: this.paint });
  }

  /** A remark on stderr; left out with --json. */
  note(text: string): void {
    if (!this.isJson) this.#stderr.write(`${text}\n`);
  }

  /** A warning, always visible on stderr; with --json as a document of its own line. */
  warn(text: string): void {
    if (this.isJson) this.#stderr.write(`${JSON.stringify({ warning: text })}\n`);
    else this.#stderr.write(`${this.#paintErrors('warning', 'warning:')} ${oneLine(text)}\n`);
  }

  error(error: unknown): void {
    if (this.isJson) this.#stderr.write(`${JSON.stringify(errorDocument(error))}\n`);
    else this.#stderr.write(formatError(error, this.#paintErrors));
  }

  /** Columns of the terminal; undefined when stdout is none. */
  get width(): number | undefined {
    return this.#stdout.isTTY === true && (this.#stdout.columns ?? 0) > 0 ? this.#stdout.columns : undefined;
  }
}
