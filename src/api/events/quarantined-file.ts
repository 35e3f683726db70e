/** What the event of a definition that cannot be read carries, whatever it defines. */
import * as z from 'zod';

/** `name` and `uuid` as its file tells them, where it does. */
export const quarantinedFile = z.object({
  file: z.string(),
  reason: z.string(),
  name: z.string().nullable(),
  uuid: z.string().nullable(),
});
