// The button in the header: light colours, dark ones, or the system's. What the reader chose is kept
// on their machine, under the name that overrides/partials/javascripts/palette.html reads too.
const KEY = "attention-executed:colours";
const CHOICES = ["system", "light", "dark"] as const;
type Choice = (typeof CHOICES)[number];

const system = matchMedia("(prefers-color-scheme: dark)");

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

/** Show the reader's choice, on each page anew: the theme brings the `<meta>` of the next page. */
export function showColours(): void {
  const button = document.querySelector<HTMLButtonElement>("button.colours");
  if (!button) return;
  if (button.hidden) {
    button.hidden = false;
    button.addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length] ?? "system";
      keep();
      showColours();
    });
    system.addEventListener("change", showColours);
  }
  const dark = choice === "system" ? system.matches : choice === "dark";
  document.body.dataset.mdColorScheme = dark ? "slate" : "default";
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  for (const face of button.querySelectorAll<HTMLElement>("[data-choice]")) {
    face.hidden = face.dataset.choice !== choice;
    if (!face.hidden) button.setAttribute("aria-label", face.title);
  }
  // The browser's own bar has a colour for each of the system's, unless the reader has chosen.
  for (const meta of document.querySelectorAll<HTMLMetaElement>("meta[name=theme-color]")) {
    const { colours } = meta.dataset;
    if (choice === "system") meta.media = `(prefers-color-scheme: ${colours})`;
    else meta.media = colours === choice ? "all" : "not all";
  }
}
