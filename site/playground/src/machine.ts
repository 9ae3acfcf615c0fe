// The page's end of the line to the worker: a task is given, steps may arrive, and a promise brings the result.

import type { FromWorker, Model, Progress, Step, Task, Tasks } from "./messages.ts";

/** What a stopped task rejects with. */
export const STOPPED = new Error("stopped");

interface Listeners {
  step?: (step: Step) => void;
  progress?: (progress: Progress) => void;
}

interface Waiting extends Listeners {
  resolve: (got: never) => void;
  reject: (error: Error) => void;
}

export class Machine {
  private worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private waiting = new Map<number, Waiting>();
  private next = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.hear(data);
    this.worker.onerror = (event) => this.fail(event.message || "The model could not be started in this browser.");
  }

  /** Fetch and start the model. */
  load(progress: (progress: Progress) => void): Promise<Model> {
    return this.give("load", undefined, { progress }).result;
  }

  ask<T extends Task>(task: T, give: Tasks[T]["give"]): Promise<Tasks[T]["get"]> {
    return this.give(task, give).result;
  }

  /** Like `ask`, with what arrives on the way, and a way to stop it. */
  give<T extends Task>(
    task: T,
    give: Tasks[T]["give"],
    listeners: Listeners = {},
  ): { result: Promise<Tasks[T]["get"]>; stop: () => void } {
    const id = this.next++;
    const result = new Promise<Tasks[T]["get"]>((resolve, reject) => {
      this.waiting.set(id, { ...listeners, resolve: resolve as (got: never) => void, reject });
      this.worker.postMessage({ id, task, give });
    });
    return { result, stop: () => this.waiting.has(id) && this.worker.postMessage({ id, stop: true }) };
  }

  private hear(message: FromWorker): void {
    const waiting = this.waiting.get(message.id);
    if (!waiting) return;
    if ("step" in message) return waiting.step?.(message.step);
    if ("progress" in message) return waiting.progress?.(message.progress);
    this.waiting.delete(message.id);
    if ("got" in message) return waiting.resolve(message.got as never);
    waiting.reject("error" in message ? new Error(message.error) : STOPPED);
  }

  private fail(reason: string): void {
    for (const { reject } of this.waiting.values()) reject(new Error(reason));
    this.waiting.clear();
  }
}
