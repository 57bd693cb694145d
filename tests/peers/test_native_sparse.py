"""Native sparse attention beside flash-linear-attention's naive file."""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch

from attention_ref import native_sparse_attention, select_blocks

BATCH, HEADS, KV_HEADS, LENGTH, D_K, D_V = 2, 6, 2, 61, 5, 7
SIZE = 4  # fifteen whole blocks, and one cut short
SCALE = D_K**-0.5


@pytest.fixture
def naive(monkeypatch):
    """Load the naive file alone: the package needs a GPU."""
    root = Path(importlib.util.find_spec("fla").submodule_search_locations[0])
    # What it imports of the package is for packed sequences, and for the window's kernel.
    utils, pooling = ModuleType("fla.ops.utils"), ModuleType("fla.ops.utils.pooling")
    utils.prepare_chunk_offsets = pooling.mean_pooling = None
    for module in (ModuleType("fla"), ModuleType("fla.ops"), utils, pooling):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = importlib.util.spec_from_file_location("naive", root / "ops" / "nsa" / "naive.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # it says that flash_attn is missing
        spec.loader.exec_module(module)
    return module


def draw(seed):
    generator = torch.manual_seed(seed)
    shapes = ((HEADS, D_K), (KV_HEADS, D_K), (KV_HEADS, D_V))
    return [2 * torch.randn(BATCH, heads, LENGTH, d, generator=generator) for heads, d in shapes]


def means(x):
    """Average each block, the last of one position too."""
    padded = torch.nn.functional.pad(x, (0, 0, 0, -LENGTH % SIZE)).unflatten(2, (-1, SIZE))
    counts = torch.full((padded.shape[2], 1), SIZE)
    counts[-1] = LENGTH % SIZE
    return padded.sum(3) / counts


def swap(*arrays):
    return [x.transpose(1, 2).contiguous() for x in arrays]


def attend(query, key, value, gates, blocks):
    return native_sparse_attention(query, key, value, gates, block_size=SIZE, blocks=blocks, left=0)


def alone(branch, dtype):
    gates = torch.full((BATCH, HEADS, LENGTH, 3), -torch.inf, dtype=dtype)
    gates[..., branch] = torch.inf
    return gates


@pytest.mark.parametrize("blocks", [3, 5, 20])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_blocks_are_selected(naive, blocks, seed):
    query, key, _ = draw(seed)
    q, k = swap(query, means(key))
    theirs = naive.naive_nsa_topk(q, k, blocks, SIZE, SCALE)
    ours = select_blocks(
        query, means(key)[:, :, : LENGTH // SIZE], LENGTH, block_size=SIZE, blocks=blocks
    )
    expected = torch.zeros(BATCH, LENGTH, KV_HEADS, ours.shape[-1] + 1, dtype=torch.bool)
    expected.scatter_(-1, torch.where(theirs < 0, ours.shape[-1], theirs), True)
    assert torch.equal(ours, expected[..., :-1].transpose(1, 2))
    behind = torch.arange(LENGTH) // SIZE + 1
    assert torch.equal(ours.sum(-1).amin((0, 1)), behind.clamp(max=blocks))


@pytest.mark.parametrize("branch", ["compressed", "selected"])
@pytest.mark.parametrize("seed", [3, 4])
def test_so_are_the_outputs(naive, branch, seed):
    query, key, value = draw(seed)
    q, k, v, k_means, v_means = swap(query, key, value, means(key), means(value))
    if branch == "compressed":
        theirs, _ = naive.naive_nsa_compression(q, k_means, v_means, SIZE, SCALE)
    else:
        chosen = naive.naive_nsa_topk(q, k_means, 5, SIZE, SCALE)
        theirs = naive.naive_nsa_selection(q, k, v, chosen, SIZE)
    index = ["compressed", "selected"].index(branch)
    wide = [x.double() for x in (query, key, value)]
    ours = attend(*wide, alone(index, torch.float64), 5)
    rounded = attend(query, key, value, alone(index, torch.float32), 5)
    limit = 2 * (rounded - ours).abs().max()
    assert 0 < limit < 1e-5
    assert (ours - theirs.transpose(1, 2)).abs().max() <= limit


def test_the_gated_sum_is_that_of_their_parts(naive):
    query, key, value = draw(5)
    gates = torch.randn(BATCH, HEADS, LENGTH, 3, generator=torch.manual_seed(6))
    gates[..., 2] = -torch.inf  # theirs computes the window on a GPU alone
    q, k, v, k_means, v_means, opened = swap(
        query, key, value, means(key), means(value), gates.sigmoid()
    )
    chosen = naive.naive_nsa_topk(q, k_means, 5, SIZE, SCALE)
    selected = naive.naive_nsa_selection(q, k, v, chosen, SIZE)
    compressed, _ = naive.naive_nsa_compression(q, k_means, v_means, SIZE, SCALE)
    theirs = compressed * opened[..., :1] + selected * opened[..., 1:2]
    ours = attend(*(x.double() for x in (query, key, value, gates)), 5)
    limit = 2 * (attend(query, key, value, gates, 5) - ours).abs().max()
    assert 0 < limit < 1e-5
    assert (ours - theirs.transpose(1, 2)).abs().max() <= limit
