"""draft"""
from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from mathtune.arithmetic import ExpressionError, evaluate

_ANNOTATION = re.compile(r"<<([^<>=\n]{1,200}(?:=[^<>=\n]{1,200}){1,8})>>")
_TOKEN = re.compile(
    r"""
      (?P<number> (?: [0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+ ) (?:\.[0-9]+)? | \.[0-9]+ )
        (?P<percent> \s? \\?% )?
    | (?P<fraction> \\[dt]?frac \s? \{ [0-9.,]{1,20} \} \s? \{ [0-9.,]{1,20} \} )
    | (?P<operator> // | [-+*/×÷·−–] | \\times\b | \\cdot\b | \\div\b
                  | [xX] (?= \s* \\? [$€£¥(.0-9] ) | of (?= \s+ \\? [$€£¥]? [0-9] ) )
    | (?P<open> \( ) | (?P<close> \) )
    | (?P<equals> = )
    | (?P<line> \n )
    | (?P<blank> (?: [ \t\r\f\v\u00a0\u2009] | \\?[$€£¥] | \\[,;!()\[\]] | \*\* | \\left\b | \\right\b )+ )
    | (?P<word> [A-Za-z][A-Za-z'-]* | \\text\s?\{[^{}\n]{0,60}\} )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int
