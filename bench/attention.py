"""Time and memory of attention on long sequences, beside the formula in NumPy and other libraries.

    python bench/attention.py [length ...]

Batch 1, heads 8, d 64, float32, two threads. Each measurement is a process of its own, which has
the inputs in memory before it counts: growth is by how much its peak rises from there, the output
included (8 MB at 4096 tokens, 134 MB at 65536). Up to 4096 tokens the competitors take turns three
times, and the least time of each counts. CPU time is that of all threads; where the machine does
other things, compare that, not the time. The ratios are to PyTorch's flash kernel at that length.

What is left out gets a line that says why: a library that is not installed; what would not fit in
memory, which grows with the square of the length where all scores are kept; what would take longer
than a few minutes. 65536 tokens are for what needs no memory for scores.

`flash_attention` runs on a pool of two, and so below it no thread of the library's own;
`scaled_dot_product_attention` is one thread throughout, and naive NumPy may use two.
"""

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

HEADS, D, THREADS = 8, 64, 2
LENGTHS = (256, 1024, 4096, 16384, 65536)
ROUNDS = {256: 3, 1024: 3, 4096: 3}  # once beyond
LONG = 16384  # beyond it run those alone that are linear in memory by what they promise
LINEAR = ("torch flash", "flash_attention, numpy", "flash_attention, torch")
PATIENCE = 300  # seconds
# ONNX Runtime runs a model that onnx builds.
NEEDS = {
    "onnx.reference": ["onnx"],
    "ONNX Runtime": ["onnx", "onnxruntime"],
    "jax jit": ["jax"],
}


def naive(query, key, value):
    """Write the formula down as it stands."""
    import numpy as np  # noqa: PLC0415

    scores = query @ key.mT / np.float32(D**0.5)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True) @ value


def onnx_session(name, arrays):
    """Return a function that runs a model of one Attention operator, as ONNX's opset 23 has it."""
    import onnx  # noqa: PLC0415

    names = ("query", "key", "value")
    node = onnx.helper.make_node("Attention", names, ["output"])
    shape = (1, HEADS, None, D)
    *inputs, output = (
        onnx.helper.make_tensor_value_info(x, onnx.TensorProto.FLOAT, shape)
        for x in (*names, "output")
    )
    graph = onnx.helper.make_graph([node], "attention", inputs, [output])
    opset = onnx.helper.make_opsetid("", 23)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    if name == "onnx.reference":
        from onnx.reference import ReferenceEvaluator  # noqa: PLC0415

        session = ReferenceEvaluator(model)
    else:
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=providers
        )
    return lambda: session.run(None, dict(zip(names, arrays, strict=True)))


def jax_call(arrays):
    """Return a function that runs JAX's attention, compiled for these shapes."""
    import jax  # noqa: PLC0415

    attend = jax.jit(jax.nn.dot_product_attention)  # its axes are batch, length, heads, d
    swapped = [jax.numpy.asarray(x.swapaxes(1, 2)) for x in arrays]
    attend(*swapped).block_until_ready()
    return lambda: attend(*swapped).block_until_ready()


def competitor(name, arrays):
    """Return a function without arguments that runs the attention of this name once."""
    if name == "naive numpy":
        return lambda: naive(*arrays)
    if name in {"flash_attention, numpy", "flash_attention, causal, numpy"}:
        from attention_ref import causal_mask, flash_attention, mask_tiles  # noqa: PLC0415

        pool = ThreadPoolExecutor(THREADS)
        mask = mask_tiles(causal_mask) if "causal" in name else None
        return lambda: flash_attention(*arrays, mask=mask, map_blocks=pool.map)
    if name == "scaled_dot_product_attention, numpy":
        from attention_ref import scaled_dot_product_attention  # noqa: PLC0415

        return lambda: scaled_dot_product_attention(*arrays)
    if name in NEEDS:
        return jax_call(arrays) if name == "jax jit" else onnx_session(name, arrays)
    import torch  # noqa: PLC0415

    tensors = list(map(torch.asarray, arrays))
    if name == "flash_attention, torch":
        from attention_ref import flash_attention  # noqa: PLC0415

        torch.set_num_threads(1)
        pool = ThreadPoolExecutor(THREADS)
        return lambda: flash_attention(*tensors, map_blocks=pool.map)
    torch.set_num_threads(THREADS)
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415

    backend = SDPBackend.MATH if name == "torch math" else SDPBackend.FLASH_ATTENTION

    def attend():
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(*tensors)

    return attend


NAMES = (
    "torch flash",
    "torch math",
    "naive numpy",
    "onnx.reference",
    "ONNX Runtime",
    "jax jit",
    "scaled_dot_product_attention, numpy",
    "flash_attention, numpy",
    "flash_attention, causal, numpy",
    "flash_attention, torch",
)


def peak_bytes():
    """Return the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(name, length):
    """Run in the child: print the seconds, the CPU seconds and the growth in bytes."""
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((1, HEADS, length, D), dtype=np.float32) for _ in range(3)]
    # A short run first loads the libraries and starts the threads; it is not counted.
    competitor(name, [x[:, :, :64] for x in arrays])()
    run = competitor(name, arrays)
    before, best, best_cpu = peak_bytes(), float("inf"), float("inf")
    begun = time.perf_counter()
    for _ in range(1 if length > LONG else 5):
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        best = min(best, time.perf_counter() - start)
        best_cpu = min(best_cpu, time.process_time() - start_cpu)
        if time.perf_counter() - begun > 10:
            break
    print(json.dumps([best, best_cpu, peak_bytes() - before]))


def run_alone(name, length):
    """Measure in a process of its own; return seconds, CPU seconds, growth, or what went wrong."""
    # OpenBLAS must not start threads below those of the pool, nor for a few rows at a time.
    blas = 1 if "attention, " in name else THREADS
    threads = {"OPENBLAS_NUM_THREADS": str(blas), "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, __file__, "--measure", name, str(length)]
    try:
        done = subprocess.run(
            command,
            env=os.environ | threads,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=4 * PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {4 * PATIENCE} seconds"
    except subprocess.CalledProcessError as error:
        return f"ended with {error.returncode}"  # -9: killed, as for want of memory
    return json.loads(done.stdout)


def reason_against(name, length, last, memory):
    """Say why not to run this, judging by the last length: None if nothing speaks against it."""
    missing = [module for module in NEEDS.get(name, []) if not find_spec(module)]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if length > LONG:
        return None if name in LINEAR else "not asked to: 65536 tokens are for linear memory"
    if name not in last:
        return None
    shorter, seconds, growth = last[name]
    times = (length / shorter) ** 2
    if growth * times > 0.8 * memory:
        return f"would take {growth * times / 1e9:.0f} GB of the {memory / 1e9:.0f} GB there are"
    if seconds * times > PATIENCE:
        return f"would take {seconds * times / 60:.0f} minutes"
    return None


def main(lengths):
    """Print a table, each competitor's ratio being to torch flash at that length."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    print(f"{'':45}{'time':>9}{'CPU':>9}{'time':>8}{'CPU':>8}{'memory':>10}")
    print(f"{'tokens':>6}  {'':37}{'s':>9}{'s':>9}{'ratio':>8}{'ratio':>8}{'growth':>10}")
    last = {}
    for length in lengths:
        against = {name: reason_against(name, length, last, memory) for name in NAMES}
        found = {}
        for _ in range(ROUNDS.get(length, 1)):
            for name in NAMES:
                if against[name]:
                    continue
                result = run_alone(name, length)
                if isinstance(result, str):
                    against[name] = result
                else:
                    found.setdefault(name, []).append(result)
        first = None
        for name in NAMES:
            start = f"{length:6}  {name:37}"
            if against[name]:
                print(f"{start}  left out: {against[name]}")
                continue
            seconds, cpu, growth = (min(column) for column in zip(*found[name], strict=True))
            last[name] = length, seconds, growth
            first = first or (seconds, cpu)
            print(
                f"{start}{seconds:9.3f}{cpu:9.3f}{seconds / first[0]:8.2f}{cpu / first[1]:8.2f}"
                f"{growth / 1e6:7.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main([int(length) for length in sys.argv[1:]] or LENGTHS)
