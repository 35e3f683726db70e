/** A monitor for tests that answers when it is told to. */
import { QmpClient } from '../../../src/drivers/qemu/qmp/client.ts';

export class FakeQmp {
  readonly asked: string[] = [];
  private waiting: ((value: unknown) => void)[] = [];
  readonly client = new QmpClient(
    {
      closed: new Promise(() => {}),
      together: <T>(send: () => T): T => send(),
      send: (command: string) => {
        this.asked.push(command);
        return new Promise((resolve) => this.waiting.push(resolve));
      },
    } as never,
    { major: 7, minor: 2, micro: 0 } as never,
    30_000,
  );

  /** Answers all that was asked. */
  answer(value: unknown): void {
    for (const resolve of this.waiting.splice(0)) resolve(value);
  }
}
