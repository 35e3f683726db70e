/** How long questions to a guest's agent may take. */
import { expect, it } from 'vitest';
import { type AgentAskOptions, GuestAgent } from '../../../src/drivers/guest-agent.ts';

it('waits longer for what runs a program inside the guest, or works on its disks', async () => {
  const asked: [string, number | undefined][] = [];
  const agent = new GuestAgent((command: string, _args: unknown, options?: AgentAskOptions) => {
    asked.push([command, options?.timeoutMs]);
    return Promise.resolve(command.includes('freeze') ? 1 : {});
  });
  await agent.setTime();
  await agent.setPassword('ann', 'secret', false);
  await agent.freeze();
  await agent.thaw();
  await agent.hostName().catch(() => undefined);
  expect(asked).toEqual([
    ['guest-set-time', 60_000],
    ['guest-set-user-password', 60_000],
    ['guest-fsfreeze-freeze', 60_000],
    ['guest-fsfreeze-thaw', 60_000],
    ['guest-get-host-name', undefined],
  ]);
});
