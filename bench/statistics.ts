/** Samples and what is told of them. */

/** The middle value; of an even number of samples the mean of the two in the middle. @throws Error for no samples */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** The value below which that part of the samples lies, interpolated. @throws Error for no samples */
export function quantile(samples: readonly number[], part: number): number {
  if (samples.length === 0) throw new Error('there are no samples');
  const sorted = [...samples].sort((a, b) => a - b);
  const place = (sorted.length - 1) * part;
  const low = sorted[Math.floor(place)] ?? Number.NaN;
  const high = sorted[Math.ceil(place)] ?? Number.NaN;
  return low + (high - low) * (place - Math.floor(place));
}

/** Milliseconds that `work` takes. */
export async function timeMs(work: () => unknown): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
