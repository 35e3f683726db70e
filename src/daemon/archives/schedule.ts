/** When a plan is due. Times of day are the host's. Pure. */

export const weekdays = [
  'sunday',
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
] as const;

export interface Schedule {
  readonly every: 'hour' | 'day' | 'week';
  /** Minutes after midnight; of an hourly one, minutes after the hour. */
  readonly minute: number;
  /** Of a weekly one. */
  readonly weekday?: (typeof weekdays)[number] | undefined;
}

/** The first moment after `afterMs` at which it is due, in milliseconds since 1970. */
export function nextDue(schedule: Schedule, afterMs: number): number {
  const date = new Date(afterMs);
  date.setSeconds(0, 0);
  if (schedule.every === 'hour') {
    date.setMinutes(schedule.minute % 60);
    while (date.getTime() <= afterMs) date.setHours(date.getHours() + 1);
    return date.getTime();
  }
  date.setHours(Math.floor(schedule.minute / 60), schedule.minute % 60);
  const isDay = () => schedule.every === 'day' || weekdays[date.getDay()] === (schedule.weekday ?? 'sunday');
  while (date.getTime() <= afterMs || !isDay()) date.setDate(date.getDate() + 1);
  return date.getTime();
}
