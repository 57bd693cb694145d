// What the page and its workers share of what is kept: what they say to each other, and the names.

/** Fetch all of the site; or take the place of the version that is in use. */
export type ToWorker =
  | { readonly kind: "keep" }
  | { readonly kind: "take over"; readonly evenBesideOthers: boolean };

/**
 * So much is kept; or another version has taken over, and the page is of the one before; or the
 * version that waits is in use all the same, and its worker alone waits.
 */
export type ToPage =
  | { readonly kind: "kept"; readonly bytes: number; readonly total: number }
  | { readonly kind: "replaced" }
  | { readonly kind: "in use" };

/** The name of the store: a host may have several such sites, each in a folder of its own. */
export function storeOf(site: URL): string {
  return `attention-executed ${site.pathname}`;
}

/** The name of the store of recorded memory, which the page keeps when Python has run. */
export function memoryStoreOf(site: URL): string {
  return `${storeOf(site)} memory`;
}

/** The file of the site that `address` names, whatever its query, or null if it is none. */
export function fileOf(address: string, site: URL): string | null {
  const url = new URL(address);
  if (url.origin !== site.origin || !url.pathname.startsWith(site.pathname)) return null;
  const path = url.pathname.slice(site.pathname.length);
  return path === "" || path.endsWith("/") ? `${path}index.html` : path;
}
