// Read a stream piece by piece. Safari cannot loop over one, so the compiler is not told of it.

export async function* pieces<T>(stream: ReadableStream<T>): AsyncGenerator<T, void> {
  const reader = stream.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    await reader.cancel(); // what is left when the loop is left early
  }
}
