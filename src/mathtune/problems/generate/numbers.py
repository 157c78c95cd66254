"""Exact numbers that remember how they were computed, for stories and their worked solutions."""

from __future__ import annotations

from fractions import Fraction

from mathtune.errors import DataError

Value = int | Fraction


class Num:
    """A positive exact number; the result of an operation also knows its expression.

    What a template writes, for ``cost = Num(3) * Num(Fraction(5, 2))``:

    ==============  ==========================
    ``f"{cost}"``    ``7.5``
    ``f"{cost:$}"``  ``$7.50``
    ``f"{cost:=}"``  ``3*2.5=<<3*2.5=7.5>>7.5``
    ``f"{cost:=$}"`` ``3*2.5=$<<3*2.5=7.5>>7.5``
    ==============  ==========================

    An operation takes the *values* of its operands, as in a solution with one calculation per line;
    ``inline`` keeps an operand's expression, for ``3*4+5*2`` in one line.

    Raises:
        DataError: A result is not positive, or is not a terminating decimal.
    """

    __slots__ = ("expression", "text", "value")

    def __init__(self, value: Value, expression: str = "", text: str = "") -> None:
        if value <= 0:
            raise DataError(
                f"A template computed {expression or 'a number'} = {value}, which is not positive; "
                "draw its numbers so that every result is above zero."
            )
        if type(value) is Fraction and value.denominator == 1:
            value = value.numerator
        self.value = value
        self.expression = expression
        self.text = text or (str(value) if isinstance(value, int) else decimal(value))

    def __format__(self, spec: str) -> str:
        if not spec:
            return self.text
        if spec == "$":
            return f"${dollars(self.value)}"
        if spec == "=":
            return f"{self.expression}=<<{self.expression}={self.text}>>{self.text}"
        if spec == "=$":
            return f"{self.expression}=$<<{self.expression}={self.text}>>{self.text}"
        raise ValueError(f"Unknown format {spec!r} for a number; use '', '$', '=' or '=$'.")

    def __int__(self) -> int:
        return int(self.value)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Num({self.text}, {self.expression!r})"

    def __add__(self, other: Num | int) -> Num:
        return Num(self.value + _value(other), f"{self.text}+{other}")

    def __sub__(self, other: Num | int) -> Num:
        return Num(self.value - _value(other), f"{self.text}-{other}")

    def __mul__(self, other: Num | int) -> Num:
        return Num(self.value * _value(other), f"{self.text}*{other}")

    def __truediv__(self, other: Num | int) -> Num:
        return Num(_quotient(self.value, _value(other)), f"{self.text}/{other}")

    def __rmul__(self, other: int) -> Num:
        return Num(other * self.value, f"{other}*{self.text}")

    def __rsub__(self, other: int) -> Num:
        return Num(other - self.value, f"{other}-{self.text}")

    def times(self, numerator: int | Num, denominator: int | Num) -> Num:
        """This number times a fraction, stated as ``40*3/4`` (``40/4`` for a numerator of 1)."""
        top, bottom = _value(numerator), _value(denominator)
        start = self.text if top == 1 else f"{self.text}*{numerator}"
        return Num(_quotient(self.value * top, bottom), f"{start}/{denominator}")

    def percent(self, rate: int | Num) -> Num:
        """``rate`` percent of this number, stated as ``50*20/100``."""
        return Num(_quotient(self.value * _value(rate), 100), f"{self.text}*{rate}/100")

    @property
    def inline(self) -> Num:
        """This result as part of a longer expression: ``3*4``, or ``(3+4)`` for a sum."""
        is_sum = "+" in self.expression or "-" in self.expression
        text = f"({self.expression})" if is_sum else self.expression
        return Num(self.value, self.expression, text)


def decimal(value: Fraction) -> str:
    """Write a terminating decimal without trailing zeros: ``Fraction(15, 2)`` is ``"7.5"``.

    Raises:
        DataError: The decimal expansion does not end.
    """
    for places in range(1, 10):
        scaled, rest = divmod(value.numerator * 10**places, value.denominator)
        if not rest:
            digits = str(scaled).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}"
    raise DataError(
        f"A template computed {value}, which is not a short terminating decimal; "
        "draw a numerator that its denominator divides."
    )


def dollars(value: Value) -> str:
    """Write an amount as a price tag does: ``12``, ``7.50``."""
    if type(value) is int:
        return str(value)
    cents = _quotient(value * 100, 1)
    if type(cents) is not int:
        return decimal(Fraction(value))
    return f"{cents // 100}.{cents % 100:02d}"


def total(*numbers: Num) -> Num:
    """The sum of several numbers in one expression: ``3+4+5``."""
    return Num(sum(number.value for number in numbers), "+".join(n.text for n in numbers))


def _value(number: Num | int) -> Value:
    return number if type(number) is int else number.value  # type: ignore[union-attr]


def _quotient(top: Value, bottom: Value) -> Value:
    if type(top) is int and type(bottom) is int and not top % bottom:
        return top // bottom
    exact = Fraction(top) / bottom
    return exact.numerator if exact.denominator == 1 else exact
