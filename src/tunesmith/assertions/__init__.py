"""A user's assertions: plain functions that judge a row or an answer, run in processes of their own."""

from tunesmith.assertions.jury import Jury, jury
from tunesmith.assertions.verdict import Assertion, Case, Fault, Verdict, load_assertions

__all__ = ["Assertion", "Case", "Fault", "Jury", "Verdict", "jury", "load_assertions"]
