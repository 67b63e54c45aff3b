"""A user's assertions: plain functions that pass or fail a row or an answer, run in worker processes."""

from tunesmith.assertions.runner import AssertionRunner, open_assertions
from tunesmith.assertions.verdict import Assertion, Case, Fault, Verdict, load_assertions

__all__ = ["Assertion", "AssertionRunner", "Case", "Fault", "Verdict", "load_assertions", "open_assertions"]
