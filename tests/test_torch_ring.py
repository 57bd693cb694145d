import functools
import multiprocessing
import warnings
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from attention_ref import (
    alibi_bias,
    alibi_slopes,
    attention_stages,
    causal_mask,
    flash_attention,
    flash_attention_backward,
    mask_tiles,
    padding_mask,
    sliding_window_mask,
)
from attention_ref.torch import all_to_all_attention, ring_attention

BATCH, HEADS, D_K, D_V = 3, 4, 5, 7
LENGTH = 11
LENGTHS = {2: [4, 7], 4: [3, 0, 6, 2]}  # one process may hold nothing
ATTENTIONS = {"ring": ring_attention, "all to all": all_to_all_attention}
DTYPES = torch.float32, torch.bfloat16
CLOSE = {"rtol": 1e-11, "atol": 1e-12}
# The last is what PyTorch imports when it first computes a gradient, with all of SymPy.
IMPORTED_ONCE = [
    "attention_ref.torch",
    "array_api_compat.torch",
    "pytest",
    "torch.fx.experimental.symbolic_shapes",
]


def draw(dtype, kv_len=LENGTH):
    """Return query, key, value and the gradient of the output, of the whole sequence."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((LENGTH, D_K), (kv_len, D_K), (kv_len, D_V), (LENGTH, D_V))
    draws = [
        2 * torch.randn(BATCH, HEADS, *size, generator=generator, dtype=torch.float64)
        for size in sizes
    ]
    return [x.to(dtype) for x in draws]


def alibi(queries, keys):
    sizes = queries.stop - queries.start, keys.stop - keys.start
    slopes = alibi_slopes(HEADS, like=torch.empty(0, dtype=torch.float64))
    return alibi_bias(slopes, *sizes, q_start=queries.start - keys.start)


def padding(queries, keys):
    return padding_mask(torch.tensor([LENGTH, 9, 2]), LENGTH)[:, None, :, keys]


def by_tile(mask, **options):
    return mask_tiles(mask, like=torch.empty(0), **options)


EVERYTHING = {
    "mask": by_tile(causal_mask),
    "bias": alibi,
    "sink": torch.linspace(-1, 2, HEADS, dtype=torch.float64),
    "softcap": 3.0,
    "scale": 0.4,
}
CASES = {
    "plain": {},
    "causal": {"mask": by_tile(causal_mask)},
    "window": {"mask": by_tile(sliding_window_mask, left=3, right=1)},
    "padding": {"mask": padding},
    "queries that see nothing": {"mask": by_tile(causal_mask, q_start=-5)},
    "a mask for each head": {
        "mask": lambda queries, keys: (
            torch.arange(HEADS)[:, None, None] != torch.arange(LENGTH)[keys] % HEADS
        )
    },
    "everything": EVERYTHING,
}


def whole_arrays(options, q_len, kv_len):
    """Return the options with their functions called once, for the whole sequence."""
    places = slice(0, q_len), slice(0, kv_len)
    return {name: x(*places) if callable(x) else x for name, x in options.items()}


def cut(x, lengths, rank):
    return x.split(lengths, dim=-2)[rank]


def both_passes(attend, inputs, gradient, options):
    """Return the output and the gradients of the inputs, and of a sink if there is one."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    if "sink" in options:
        leaves.append(options["sink"].detach().clone().requires_grad_())
        options = options | {"sink": leaves[-1]}
    output = attend(*leaves[:3], **options)
    return [output.detach(), *torch.autograd.grad(output, leaves, gradient)]


def attend_at_once(*inputs, **options):
    return attention_stages(*inputs, **options).output


def expected_of(case, kv_len=LENGTH):
    query, key, value, gradient = draw(torch.float64, kv_len)
    options = whole_arrays(CASES[case], query.shape[-2], key.shape[-2])
    return both_passes(attend_at_once, (query, key, value), gradient, options)


def message_of(call):
    try:
        call()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def wrong_calls(rank, attend):
    """Try what is wrong on one process alone, or for this number of processes."""
    odd = 1 if rank == 1 else 0
    x = torch.ones(2, HEADS, 3, 5)
    several, few = torch.ones(2, HEADS, 3, 5 + odd), torch.ones(2, 3, 5)
    wider = x.double() if odd else x
    yield "shape", message_of(lambda: attend(x, x, several))
    yield "dtype", message_of(lambda: attend(wider, wider, wider))
    yield "heads", message_of(lambda: attend(few[:, None], few[:, None], few[:, None]))
    yield "no heads", message_of(lambda: attend(few[0], few[0], few[0]))


def work(rank, world, folder):
    """Run every case on this process, and leave what came of it in the folder."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world)
    settings = {"store": store, "rank": rank, "world_size": world}
    # One that waits for a process that went another way raises after this long, which ends them
    # all. All waits together take seconds, and on a machine eight times as busy about a minute.
    dist.init_process_group("gloo", timeout=timedelta(minutes=5), **settings)
    lengths, found = LENGTHS[world], {}
    exchange, exchanges = dist.batch_isend_irecv, []
    dist.batch_isend_irecv = lambda transfers: exchanges.append(None) or exchange(transfers)

    def run(label, inputs, gradient, options, kv_lens, *, group=None):
        place = dist.get_rank(group)
        q_lens = LENGTHS[dist.get_world_size(group)]
        mine = [cut(inputs[0], q_lens, place), *(cut(x, kv_lens, place) for x in inputs[1:])]
        for name, attend in ATTENTIONS.items():
            terms = options | {"group": group}
            gradients = cut(gradient, q_lens, place)
            found[name, *label] = both_passes(attend, mine, gradients, terms)

    for case, options in CASES.items():
        *inputs, gradient = draw(torch.float64)
        run((case,), inputs, gradient, options, lengths)
    found["exchanges"] = len(exchanges)
    for dtype in DTYPES:
        *inputs, gradient = draw(dtype)
        run(("causal", dtype), inputs, gradient, CASES["causal"], lengths)
    longer = [n + 2 for n in lengths]
    *inputs, gradient = draw(torch.float64, sum(longer))
    run(("causal", "longer keys"), inputs, gradient, CASES["causal"], longer)
    if world == 4:  # two of the four, whose ranks among themselves are others
        *inputs, gradient = draw(torch.float64)
        group = dist.new_group([1, 3])
        if rank in (1, 3):
            run(("causal", "group"), inputs, gradient, CASES["causal"], LENGTHS[2], group=group)
        else:
            x = inputs[0]
            found["outside"] = message_of(lambda: ring_attention(x, x, x, group=group))
    for name, attend in ATTENTIONS.items():
        found |= {(name, kind): text for kind, text in wrong_calls(rank, attend)}
    torch.save(found, f"{folder}/{rank}")
    dist.destroy_process_group()


def run_world(world, folder):
    # The fork server imports what all processes need; Windows has none.
    methods = torch.multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    if method == "forkserver":
        multiprocessing.set_forkserver_preload(IMPORTED_ONCE)
    torch.multiprocessing.start_processes(work, (world, folder), world, start_method=method)
    return [torch.load(folder / str(rank)) for rank in range(world)]


@pytest.fixture(scope="module")
def left_by(tmp_path_factory):
    """Return what gives what each of so many processes left, run when first asked."""
    return functools.cache(lambda world: run_world(world, tmp_path_factory.mktemp("ring")))


@pytest.fixture(params=[2, 4])
def found(left_by, request):
    return left_by(request.param)


def joined(found, *label):
    """Put the stretches of all processes together, and add up what is shared."""
    outputs, *stretches = zip(*(held[label] for held in found if label in held), strict=True)
    whole = [torch.cat(x, dim=-2) for x in (outputs, *stretches[:3])]
    return whole + [sum(x) for x in stretches[3:]]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_both_passes_equal_those_of_one_process(found, name, case):
    for got, exact in zip(joined(found, name, case), expected_of(case), strict=True):
        torch.testing.assert_close(got, exact, **CLOSE)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_keys_may_be_of_another_length(found, name):
    longer = [n + 2 for n in LENGTHS[len(found)]]
    exact = expected_of("causal", sum(longer))
    for got, expected in zip(joined(found, name, "causal", "longer keys"), exact, strict=True):
        torch.testing.assert_close(got, expected, **CLOSE)


def test_keys_go_round_once_and_once_more_until_their_gradients_are_home(found):
    world = len(found)
    for held in found:
        assert held["exchanges"] == len(CASES) * ((world - 1) + (world - 1) + world)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_error_is_at_most_twice_that_of_one_process(found, name, dtype):
    *inputs, gradient = draw(dtype)
    options = whole_arrays(CASES["causal"], LENGTH, LENGTH)
    part = flash_attention(*inputs, **options)
    whole = [part.output, *flash_attention_backward(gradient, *inputs, *part, **options)[:3]]
    *wide, wide_gradient = (x.double() for x in (*inputs, gradient))
    exact = both_passes(attend_at_once, wide, wide_gradient, options)
    for ours, theirs, truth in zip(joined(found, name, "causal", dtype), whole, exact, strict=True):
        assert ours.dtype == dtype
        assert (ours - truth).abs().max() <= 2 * (theirs - truth).abs().max()


def test_some_of_the_processes_may_share_a_sequence(left_by):
    found = left_by(4)
    for name in ATTENTIONS:
        got = joined(found, name, "causal", "group")
        for ours, exact in zip(got, expected_of("causal"), strict=True):
            torch.testing.assert_close(ours, exact, **CLOSE)
    message = "ValueError: group must hold this process, got one that does not"
    assert [held.get("outside") for held in found] == [message, None, message, None]


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_process_says_what_one_of_them_got_wrong(found, name):
    world = len(found)
    for held in found:
        assert held[name, "shape"] == (
            "ValueError: value must have shape (2, 4, length, 5) as on process 0, "
            "got (2, 4, 3, 6) on process 1"
        )
        assert held[name, "dtype"] == (
            "TypeError: query must have dtype torch.float32 as on process 0, "
            "got torch.float64 on process 1"
        )
        assert held[name, "heads"] == (
            "no error"
            if name == "ring"
            else f"ValueError: query must have heads that divide among {world} processes, "
            "got 1 heads"
        )
        assert held[name, "no heads"] == (
            "no error"
            if name == "ring"
            else "ValueError: query must have shape (..., heads, q_len, d_k), got (3, 5)"
        )


@pytest.mark.no_shape_checks
@pytest.mark.parametrize("attend", ATTENTIONS.values(), ids=ATTENTIONS)
def test_bad_input_gets_one_clear_line(attend):
    x = torch.ones(2, 3, 5)
    for call, error, message in (
        (
            lambda: attend(x, x, x),
            ValueError,
            "group must be a process group: call init_process_group first",
        ),
        (
            lambda: attend(x, x, x, mask=torch.ones(3, 3, dtype=torch.bool)),
            TypeError,
            "mask must be a function of positions in the whole sequence, as mask_tiles gives, or "
            "None, got Tensor",
        ),
        (
            lambda: attend(x, x[:, :, :4], x),
            ValueError,
            "key must have shape (..., kv_len, d_k=5), got (2, 3, 4)",
        ),
    ):
        with pytest.raises(error) as raised:
            call()
        assert str(raised.value) == message
