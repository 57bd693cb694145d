// The button in the header: light colours, dark ones, or the system's. What the reader chose is kept
// on their machine, under the name that overrides/partials/javascripts/palette.html reads too.
const KEY = "attention-executed:colours";
const CHOICES = ["system", "light", "dark"] as const;
type Choice = (typeof CHOICES)[number];

const system = matchMedia("(prefers-color-scheme: dark)");

/** The colour of the browser's own bar. */
const bar = document.createElement("meta");
bar.name = "theme-color";

/** What the browser would not keep lasts as long as the visit. */
let choice: Choice = read();

function read(): Choice {
  try {
    const kept = localStorage.getItem(KEY);
    return CHOICES.find((one) => one === kept) ?? "system";
  } catch {
    return "system";
  }
}

function keep(): void {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // Storage may be off.
  }
}

/** Let the reader choose, and show what they chose. */
export function offerColours(): void {
  const button = document.querySelector<HTMLButtonElement>("button.colours");
  if (!button) return;
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length] ?? "system";
    keep();
    show(button);
  });
  system.addEventListener("change", () => show(button));
  document.head.append(bar);
  show(button);
}

function show(button: HTMLButtonElement): void {
  const dark = choice === "system" ? system.matches : choice === "dark";
  document.body.dataset.mdColorScheme = dark ? "slate" : "default";
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  for (const face of button.querySelectorAll<HTMLElement>("[data-choice]")) {
    face.hidden = face.dataset.choice !== choice;
    if (!face.hidden) button.setAttribute("aria-label", face.title);
  }
  bar.content = getComputedStyle(document.body).getPropertyValue("--md-primary-fg-color");
}
