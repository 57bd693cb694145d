// Tables and formulas that are wider than the page scroll; this lets a keyboard scroll them too.

export function focusScrollable(article: HTMLElement): void {
  for (const box of article.querySelectorAll<HTMLElement>(".math, .md-typeset__scrollwrap")) {
    watcher.observe(box);
  }
}

// A box that fits takes no stop on the way through the page; it may fit no longer when it narrows.
const watcher = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }
});
