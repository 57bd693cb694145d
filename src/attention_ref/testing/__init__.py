"""The conformance kit: check any attention function against the reference."""

from attention_ref.testing._check import AttentionCase, attention_cases, check_attention
from attention_ref.testing._problems import FEATURES
from attention_ref.testing._report import Diagnosis, Report

__all__ = [
    "FEATURES",
    "AttentionCase",
    "Diagnosis",
    "Report",
    "attention_cases",
    "check_attention",
]
