"""The cases: every term of the equation alone, in pairs where they meet, and at the edges."""

from typing import Any

from attention_ref.testing._problems import Case

_CROSS: dict[str, Any] = {"q_len": 5, "kv_len": 11, "d_k": 7}
_GROUPED: dict[str, Any] = {"heads": 6, "kv_heads": 2}
_HALF = ("float16", "bfloat16")
# Beyond 4096 and 512: halfway, ones added up in these dtypes stay where they are, and so do
# equal shares of one.
_LONG = {"float16": 4201, "bfloat16": 521}


def _case(name: str, needs: str = "", **terms: Any) -> Case:
    return Case(name, frozenset(needs.split()), **terms)


_PLAIN = (
    _case("self-attention"),
    _case("cross-attention", **{**_CROSS, "d_v": 7}),
    _case("one query", q_len=1, kv_len=11),
    _case("one key", q_len=5, kv_len=1),
    _case("one head, one item", batch=1, heads=1, kv_heads=1, q_len=5),
    _case("another d_v", "d_v", **_CROSS, d_v=13),
    _case("scale", "scale", scale=0.7),
    _case("scale, cross", "scale", scale=0.2, **{**_CROSS, "d_v": 7}),
    _case("large scores", size=64.0),
)
_MASKED = (
    _case("mask shared by all", "mask", mask="shared"),
    _case("mask of each item", "mask", mask="item", **{**_CROSS, "d_v": 7}),
    _case("mask of each head", "mask", mask="head"),
    _case("mask of each item and head", "mask", mask="full", **{**_CROSS, "d_v": 7}),
    _case("padding", "mask", mask="padding", **{**_CROSS, "d_v": 7}),
    _case("cached decoding, as a mask", "mask", mask="cached", q_len=3, kv_len=11),
    _case("mask, large scores", "mask", mask="full", size=64.0),
    _case("mask, scores far below zero", "mask", mask="full", size=2.0**17, special="far"),
    _case("dead rows", "mask dead_rows", mask="dead"),
    _case("NaN in a masked key", "mask isolation", mask="full", special="key"),
    _case("NaN in a masked value", "mask isolation", mask="full", special="value"),
)
_PLACED = (
    _case("causal", "causal", causal=True),
    _case("causal, large scores", "causal", causal=True, size=64.0),
    _case("causal and padding", "causal mask", causal=True, mask="padding"),
    _case("causal, cached", "causal cached", causal=True, q_len=3, kv_len=11),
    _case("causal, cached, one query", "causal cached", causal=True, q_len=1),
    _case("window to the left", "causal window", causal=True, window=(2, 0)),
    _case("window to both sides", "window", window=(1, 2)),
    _case("window and mask", "window mask", window=(2, 1), mask="full"),
)
_BENT = (
    _case("bias of each head", "bias", bias="head"),
    _case("bias of each item", "bias", bias="full", **{**_CROSS, "d_v": 7}),
    _case("bias and mask", "bias mask", bias="full", mask="item"),
    _case("bias and scale", "bias scale", bias="full", scale=0.4),
    _case("bias of -inf", "bias", bias="infinite"),
    _case("bias and causal", "bias causal", bias="head", causal=True),
    _case("soft cap", "softcap", softcap=1.5),
    _case("soft cap, scores near it", "softcap", softcap=8.0, size=2.0),
    _case("soft cap and mask", "softcap mask", softcap=1.5, mask="full"),
    _case("soft cap and causal", "softcap causal", softcap=1.5, causal=True),
    _case("soft cap and bias", "softcap bias", softcap=1.5, bias="full"),
    _case("sink", "sink", sink=True),
    _case("sink and mask", "sink mask", sink=True, mask="full"),
    _case("sink, large scores", "sink", sink=True, size=16.0),
    _case("sink and causal", "sink causal", sink=True, causal=True),
)
_GROUPS = (
    _case("grouped heads", "grouped", **_GROUPED),
    _case("one key head", "grouped", heads=5, kv_heads=1),
    _case("grouped heads and mask", "grouped mask", mask="full", **_GROUPED),
    _case("grouped heads and causal", "grouped causal", causal=True, **_GROUPED),
)
_GRADIENTS = (
    _case("gradient", "gradient", gradient=True),
    _case("gradient, cross", "gradient", gradient=True, **{**_CROSS, "d_v": 7}),
    _case("gradient, large scores", "gradient", gradient=True, size=4.0),
    _case("gradient, mask", "gradient mask", gradient=True, mask="full"),
    _case("gradient, causal", "gradient causal", gradient=True, causal=True),
    _case("gradient, scale", "gradient scale", gradient=True, scale=0.7),
    _case("gradient, bias", "gradient bias", gradient=True, bias="full"),
    _case("gradient, soft cap", "gradient softcap", gradient=True, softcap=1.5),
    _case("gradient, sink", "gradient sink", gradient=True, sink=True),
    _case("gradient, grouped heads", "gradient grouped", gradient=True, **_GROUPED),
)
_WIDE = (
    _case("float64", "float64", dtype="float64"),
    _case("float64, mask", "float64 mask", dtype="float64", mask="full"),
)
_NARROW = tuple(
    _case(f"{dtype}{name and ', '}{name}", f"half {needs}", dtype=dtype, **terms)
    for dtype in _HALF
    for name, needs, terms in (
        ("", "", {}),
        ("long sums", "", {"q_len": 2, "kv_len": _LONG[dtype], "special": "long",
                           "batch": 1, "heads": 1, "kv_heads": 1}),
        ("mask", "mask", {"mask": "full"}),
        ("causal", "causal", {"causal": True}),
        ("dead rows", "mask dead_rows", {"mask": "dead"}),
    )
)  # fmt: skip
_TRAINING = tuple(
    _case(f"{case.name}, training", " ".join(case.needs), mode="train", causal=case.causal,
          mask=case.mask)
    for case in (_PLAIN[0], _PLACED[0], _MASKED[0])
)  # fmt: skip

CASES = (
    *_PLAIN, *_MASKED, *_PLACED, *_BENT, *_GROUPS, *_WIDE, *_NARROW, *_GRADIENTS, *_TRAINING,
)  # fmt: skip
