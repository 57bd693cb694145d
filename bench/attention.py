"""Time and memory of attention on long sequences, beside NumPy's plain formula and PyTorch.

    python bench/attention.py [length ...]

Batch 1, heads 8, d 64, float32, two threads. Each figure comes from a process of its own, which
has the inputs in memory before it counts: growth is by how much its peak rises from there, the
output included (8 MB at 4096 tokens, 134 MB at 65536). CPU time is that of all threads; where the
machine does other things, compare that, not the time.
"""

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HEADS, D, THREADS = 8, 64, 2
LENGTHS = (256, 1024, 4096, 16384, 65536)
LONGEST = {"naive numpy": 4096, "torch math": 4096}


def naive(query, key, value):
    """Write the formula down as it stands."""
    import numpy as np  # noqa: PLC0415

    scores = query @ key.mT / np.float32(D**0.5)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True) @ value


def competitor(name, arrays):
    """Return a function without arguments that runs the attention of this name once."""
    if name == "naive numpy":
        return lambda: naive(*arrays)
    if name in {"flash_attention, numpy", "flash_attention, causal, numpy"}:
        from attention_ref import causal_mask, flash_attention, mask_tiles  # noqa: PLC0415

        pool = ThreadPoolExecutor(THREADS)
        mask = mask_tiles(causal_mask) if "causal" in name else None
        return lambda: flash_attention(*arrays, mask=mask, map_blocks=pool.map)
    import torch  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    tensors = list(map(torch.asarray, arrays))
    if name == "flash_attention, torch":
        from attention_ref import flash_attention  # noqa: PLC0415

        return lambda: flash_attention(*tensors)
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
    for _ in range(1 if length > 4096 else 5):
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        best = min(best, time.perf_counter() - start)
        best_cpu = min(best_cpu, time.process_time() - start_cpu)
    print(json.dumps([best, best_cpu, peak_bytes() - before]))


def main(lengths):
    """Print a table, each competitor's ratio being to torch flash at that length."""
    print(f"{'tokens':>6}  {'':31}{'seconds':>8}{'ratio':>7}{'CPU ratio':>11}{'growth':>10}")
    for length in lengths:
        first = None
        for name in NAMES:
            if length > LONGEST.get(name, max(LENGTHS)):
                continue
            # OpenBLAS must not start threads below those of the pool.
            blas = 1 if name.startswith("flash_attention") else THREADS
            threads = {"OPENBLAS_NUM_THREADS": str(blas), "OMP_NUM_THREADS": str(THREADS)}
            command = [sys.executable, __file__, "--measure", name, str(length)]
            done = subprocess.run(
                command, env=os.environ | threads, capture_output=True, text=True, check=True
            )
            seconds, cpu, growth = json.loads(done.stdout)
            first = first or (seconds, cpu)
            ratio, cpu_ratio = seconds / first[0], cpu / first[1]
            print(
                f"{length:6}  {name:31}{seconds:8.3f}{ratio:7.2f}{cpu_ratio:11.2f}"
                f"{growth / 1e6:7.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main([int(length) for length in sys.argv[1:]] or LENGTHS)
