/** From a message to the text of its answer: single requests, notifications and batches. */
import { messageLimits } from '../../../api/framing.ts';
import { VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { Turns } from '../../../base/turns.ts';
import { declarationOf, dispatch } from './dispatch.ts';
import type { CallContext, Handlers } from './handlers.ts';
import {
  type Call,
  errorObject,
  formatError,
  formatResult,
  invalidRequest,
  ProtocolError,
  readCall,
} from './protocol.ts';

export interface AnsweringOptions {
  readonly handlers: Handlers;
  readonly context: CallContext;
  readonly log: Logger;
  /** Called for each valid request: this client speaks the protocol. */
  readonly onRequest: () => void;
}

/** Answers the messages of one connection. Every error of a request becomes an answer; only a bug of ours rejects. */
export class Answering {
  /** From now on requests are refused: the daemon stops. */
  isStopping = false;
  private readonly options: AnsweringOptions;

  constructor(options: AnsweringOptions) {
    this.options = options;
  }

  /** Reads a request object; what is none comes back as its error. */
  read(message: unknown): Call | ProtocolError {
    try {
      const call = readCall(message);
      this.options.onRequest();
      return call;
    } catch (error) {
      if (error instanceof ProtocolError) return error;
      throw error;
    }
  }

  /** Runs a call; the text of its answer. A notification (no id) has none, whatever happens. */
  async answer(call: Call): Promise<string | undefined> {
    try {
      const result = await this.run(call);
      return call.id === undefined ? undefined : formatResult(call.id, result);
    } catch (error) {
      return this.answerError(call, error);
    }
  }

  /** The requests of a batch run one after another, in their order, as one request in work. */
  async answerBatch(batch: readonly unknown[]): Promise<string | undefined> {
    const refusal = batchRefusal(batch);
    if (refusal !== undefined) return formatError(null, refusal.object);
    const answers: string[] = [];
    const turns = new Turns();
    for (const message of batch) {
      await turns.share();
      const call = this.read(message);
      const answer =
        call instanceof ProtocolError ? formatError(call.id, call.object) : await this.answerInBatch(call);
      if (answer !== undefined) answers.push(answer);
    }
    return answers.length === 0 ? undefined : `[${answers.join(',')}]`;
  }

  /**
   * Runs a call for its result. Async, so that what `dispatch` throws at once is a rejection like any other.
   * @throws VirtError daemon.stopping, and whatever the handler throws
   */
  async run(call: Call): Promise<unknown> {
    if (this.isStopping) throw new VirtError('daemon.stopping', { reason: 'the daemon is stopping' });
    return dispatch(call, this.options.handlers, this.options.context);
  }

  answerError(call: Call, error: unknown): string | undefined {
    const { log } = this.options;
    const object = errorObject(error, (bug) =>
      log.error({ err: bug, method: call.method }, 'a request met a bug'),
    );
    log.debug({ method: call.method, code: object.data.code, reason: object.message }, 'request failed');
    return call.id === undefined ? undefined : formatError(call.id, object);
  }

  private async answerInBatch(call: Call): Promise<string | undefined> {
    if (declarationOf(call.method)?.upgrade !== true) return this.answer(call);
    return this.answerError(call, upgradeRefusal(call, 'it cannot be part of a batch'));
  }
}

function batchRefusal(batch: readonly unknown[]): ProtocolError | undefined {
  if (batch.length === 0) return invalidRequest('a batch must not be empty');
  if (batch.length <= messageLimits.batch) return undefined;
  const reason = `a batch has at most ${messageLimits.batch} requests, this one ${batch.length}`;
  return invalidRequest(reason, null, 'request.too-large');
}

/** Why a call cannot become a byte stream. */
export function upgradeRefusal(call: Call, reason: string): VirtError {
  return new VirtError('request.unsupported', {
    wanted: `call '${call.method}'`,
    reason: `it turns the connection into a byte stream; ${reason}`,
  });
}
