/** Several things done at the same time, when an error must not leave some of them still under way. */

/**
 * Waits for all of them, whatever becomes of each; then gives their results, or throws the error of the first in the
 * list that failed. Unlike Promise.all, nothing goes on behind the caller's back when this throws.
 */
export async function allSettledOrThrow<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(work);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}
