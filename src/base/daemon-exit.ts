/** Exit statuses of vireod that those who start it tell apart. */

/** It could not start, or met a bug. */
export const exitFailed = 1;
/** Another daemon has its paths, and serves, or will soon. */
export const exitGaveWay = 3;
