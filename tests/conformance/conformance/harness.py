# SPDX-License-Identifier: Apache-2.0
"""Registration of rules, the checks they use, and the TAP that comes out."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import grpc

if TYPE_CHECKING:
    from .context import Context

MUST = "MUST"  # the specification demands it, or states it as a fact
SHOULD = "SHOULD"  # the specification recommends it
PRACTICE = "PRACTICE"  # the specification is silent, clients rely on it
LEVELS = (MUST, SHOULD, PRACTICE)
SLOW_SECONDS = 1.0

Test = Callable[["Context"], None]


class Failure(Exception):
    """The server broke the rule."""


class Skip(Exception):
    """The rule does not apply to this server; the text says why."""


@dataclass(frozen=True)
class Rule:
    """One observable rule and the function that tries it."""

    name: str
    group: str
    level: str
    sentence: str
    spec: str
    test: Test


RULES: list[Rule] = []
# Of the rule that runs: which of several statuses the server chose.
CHOICES: list[str] = []


class Group:
    """The rules of one service; `--only` selects groups by name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _register(
        self, level: str, name: str, sentence: str, spec: str
    ) -> Callable[[Test], Test]:
        def decorate(test: Test) -> Test:
            if any(known.name == name for known in RULES):
                raise ValueError(f"two rules are named {name}")
            RULES.append(Rule(name, self.name, level, sentence, spec, test))
            return test

        return decorate

    def must(
        self, name: str, sentence: str, *, spec: str
    ) -> Callable[[Test], Test]:
        """Register a test of a MUST."""
        return self._register(MUST, name, sentence, spec)

    def should(
        self, name: str, sentence: str, *, spec: str
    ) -> Callable[[Test], Test]:
        """Register a test of a SHOULD."""
        return self._register(SHOULD, name, sentence, spec)

    def practice(
        self, name: str, sentence: str, *, spec: str
    ) -> Callable[[Test], Test]:
        """Register a test of what clients rely on beyond the text."""
        return self._register(PRACTICE, name, sentence, spec)


# --- checks -----------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How one call ended: its status, and its value when that is OK."""

    code: grpc.StatusCode
    message: str
    value: Any = None

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return bool(self.code == grpc.StatusCode.OK)


def attempt(call: Callable[[], Any]) -> Outcome:
    """Make a call and keep its status instead of raising it."""
    try:
        return Outcome(grpc.StatusCode.OK, "", call())
    except grpc.RpcError as error:
        return Outcome(error.code(), error.details() or "")


def expect(condition: bool, complaint: str) -> None:
    """Fail with the complaint unless the condition holds."""
    if not condition:
        raise Failure(complaint)


def expect_equal(actual: Any, wanted: Any, what: str) -> None:
    """Fail unless both are equal; long values are cut in the message."""
    if actual != wanted:
        raise Failure(
            f"{what}: got {_short(actual)}, expected {_short(wanted)}"
        )


def expect_code(
    code: grpc.StatusCode,
    wanted: Collection[grpc.StatusCode],
    what: str,
    message: str = "",
) -> None:
    """Fail unless the status is one of those wanted."""
    if code not in wanted:
        names = " or ".join(sorted(each.name for each in wanted))
        text = f" ({_short(message)})" if message else ""
        raise Failure(f"{what}: got {code.name}{text}, expected {names}")
    if len(set(wanted)) > 1:
        _chose(what, code)


def expect_status(
    call: Callable[[], Any], *wanted: grpc.StatusCode, what: str = "the call"
) -> Outcome:
    """Make a call and fail unless it ends with one of the statuses."""
    outcome = attempt(call)
    expect_code(outcome.code, wanted, what, outcome.message)
    return outcome


def expect_error(call: Callable[[], Any], what: str = "the call") -> Outcome:
    """Make a call that must be refused by the server, whatever the code."""
    outcome = attempt(call)
    if outcome.ok:
        raise Failure(f"{what}: succeeded, expected an error")
    expect(
        outcome.code
        not in (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNAVAILABLE,
        ),
        f"{what}: got {outcome.code.name}, expected a refusal",
    )
    _chose(what, outcome.code)
    return outcome


def _chose(what: str, code: grpc.StatusCode) -> None:
    choice = f"{what}: {code.name}"
    if choice not in CHOICES:
        CHOICES.append(choice)


def _short(value: Any) -> str:
    shown = value if isinstance(value, str) else repr(value)
    shown = " ".join(shown.split())
    return shown if len(shown) <= 160 else shown[:157] + "..."


# --- running ----------------------------------------------------------------


def select(
    only: Collection[str], pattern: str, exclude: Collection[str]
) -> list[Rule]:
    """The registered rules of some groups whose name matches a pattern."""
    wanted = re.compile(pattern)
    return [
        rule
        for rule in RULES
        if (not only or rule.group in only)
        and rule.group not in exclude
        and (wanted.search(rule.name) or wanted.search(rule.sentence))
    ]


class Runner:
    """Runs rules one after the other and prints TAP version 13."""

    def __init__(
        self,
        out: TextIO,
        fatal_levels: Collection[str],
        waived: Collection[str],
        time_limit: float,
        show_choices: bool = False,
    ) -> None:
        self._out = out
        self._fatal = fatal_levels
        self._waived = waived
        self._limit = time_limit
        self._show_choices = show_choices
        self.failed = 0
        self.tolerated = 0
        self.skipped = 0

    def run(self, rules: Iterable[Rule], context: Context) -> bool:
        """Run the rules; true when none of a fatal level was broken."""
        chosen = list(rules)
        self._print("TAP version 13")
        self._print(f"1..{len(chosen)}")
        start = time.monotonic()
        for number, rule in enumerate(chosen, 1):
            if time.monotonic() - start > self._limit:
                self._print(f"Bail out! {self._limit:.0f} s are over")
                return False
            self._run_one(number, rule, context)
        passed = len(chosen) - self.failed - self.tolerated - self.skipped
        spent = time.monotonic() - start
        self._print(
            f"# {passed} passed, {self.failed} failed, "
            f"{self.tolerated} tolerated, {self.skipped} skipped "
            f"in {spent:.1f} s"
        )
        return self.failed == 0

    def _run_one(self, number: int, rule: Rule, context: Context) -> None:
        title = f"{number} - {rule.name}: {rule.sentence}"
        start = time.monotonic()
        CHOICES.clear()
        self._try(title, rule, context)
        if self._show_choices:
            for choice in CHOICES:
                self._print(f"# {rule.name} chose {choice}")
        took = time.monotonic() - start
        if took > SLOW_SECONDS:
            self._print(f"# {rule.name} took {took:.1f} s")

    def _try(self, title: str, rule: Rule, context: Context) -> None:
        try:
            rule.test(context)
        except Skip as reason:
            self.skipped += 1
            self._print(f"ok {title} # SKIP {reason}")
        except Failure as complaint:
            self._broken(title, rule, str(complaint))
        except grpc.RpcError as error:
            self._broken(
                title,
                rule,
                f"unexpected status {error.code().name}: {error.details()}",
            )
        except Exception:  # a bug of the test is reported, not hidden
            self._broken(title, rule, traceback.format_exc())
        else:
            self._print(f"ok {title}")

    def _broken(self, title: str, rule: Rule, complaint: str) -> None:
        if rule.name in self._waived:
            self.tolerated += 1
            self._print(f"not ok {title} # TODO waived")
        elif rule.level in self._fatal:
            self.failed += 1
            self._print(f"not ok {title}")
        else:
            self.tolerated += 1
            self._print(f"not ok {title} # TODO {rule.level} is tolerated")
        self._print(f"# {rule.level}, {rule.spec}")
        for line in complaint.splitlines():
            self._print(f"# {line}")

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)
