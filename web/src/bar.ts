// The row of buttons under a block, and the line beside them that says how it goes.
import type { Progress } from "./protocol";

export class Bar {
  readonly element = document.createElement("div");
  private readonly status = document.createElement("span");
  private readonly progress = document.createElement("progress");

  constructor(box: HTMLElement, label: string) {
    this.element.className = "run-bar";
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", label);
    this.status.className = "run-status";
    this.status.setAttribute("role", "status");
    this.progress.hidden = true;
    this.progress.setAttribute("aria-label", "Python is starting");
    this.element.append(this.progress, this.status);
    box.append(this.element);
    box.dataset.bar = ""; // for the styles: it takes the room that was kept for it
  }

  button(text: string, title: string, press: (event: MouseEvent) => void): HTMLButtonElement {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.textContent = text;
    button.addEventListener("click", press);
    this.element.insertBefore(button, this.progress);
    return button;
  }

  say(text: string, kind: "" | "error" = ""): void {
    this.status.textContent = text;
    this.status.dataset.kind = kind;
    this.progress.hidden = true;
  }

  /** Show how the start goes, by stage and bytes. */
  watch({ stage, loaded, total }: Progress): void {
    this.progress.hidden = false;
    if (total > 0) {
      this.progress.max = total;
      this.progress.value = loaded;
    } else {
      this.progress.removeAttribute("value");
    }
    const bytes = total > 0 ? `: ${megabytes(loaded)} of ${megabytes(total)} MB` : "";
    const text = `${stage}${bytes}`;
    // A screen reader hears the stages; the bytes would never let it finish.
    this.status.setAttribute("aria-live", total > 0 && loaded > 0 ? "off" : "polite");
    if (this.status.textContent !== text) this.status.textContent = text;
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
