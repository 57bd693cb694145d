// Unpack an archive of the runtime: a compressed tar, which a browser reads at once.

/** Files by their path. Each is a view into one buffer. */
export type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

export async function unpack(archive: ReadableStream<BufferSource>): Promise<Files> {
  const plain = archive.pipeThrough(new DecompressionStream("gzip"));
  const tar = new Uint8Array(await new Response(plain).arrayBuffer());
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const decoder = new TextDecoder();
  const text = (start: number, length: number) =>
    decoder.decode(tar.subarray(start, start + length)).replace(/\0.*$/s, "");
  for (let header = 0; tar[header]; ) {
    const folder = text(header + 345, 155);
    const name = text(header, 100);
    const size = Number.parseInt(text(header + 124, 12), 8);
    const start = header + 512;
    files.set(folder ? `${folder}/${name}` : name, tar.subarray(start, start + size));
    header = start + Math.ceil(size / 512) * 512;
  }
  return files;
}
