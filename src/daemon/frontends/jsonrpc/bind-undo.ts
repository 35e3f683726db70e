/** Methods that take deletions back onto the service. */
import type { Result } from '../../../api/index.ts';
import type { Undo, Undoable } from '../../undo/undo.ts';
import type { Handlers } from './handlers.ts';

export function bindUndo(undo: Undo): Pick<Handlers, Extract<keyof Handlers, `undo.${string}`>> {
  return {
    'undo.list': async (filter) => ({ deletions: (await undo.list(filter)).map(undoableOf) }),
    'undo.restore': async ({ entry, ...filter }) => ({
      restored: undoableOf(await undo.restore(entry, filter)),
    }),
    'undo.forget': async ({ entry }) => ({ forgotten: (await undo.forget(entry)).map(undoableOf) }),
  };
}

/** A deletion as clients see it. */
export function undoableOf(one: Undoable): Result<'undo.restore'>['restored'] {
  const { id, type, name, uuid = null, pool = null, deletedAtMs, untilMs } = one;
  const [deletedAt, until] = [deletedAtMs, untilMs].map((ms) => new Date(ms).toISOString());
  return { id, type, name, uuid, pool, deletedAt: deletedAt ?? '', until: until ?? '' };
}
