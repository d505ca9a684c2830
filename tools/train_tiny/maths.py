"""Worked problems of school mathematics, made by rule (CC0)."""

import math
import random

Problem = tuple[str, str]


def addition(rng: random.Random) -> Problem:
    a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
    tens = b - b % 10
    steps = f"{a} + {tens} = {a + tens}, and {a + tens} + {b % 10} = {a + b}."
    return f"What is {a} + {b}?", f"First add {tens}, then {b % 10}: {steps} The sum is {a + b}."


def product(rng: random.Random) -> Problem:
    a, b = rng.randrange(11, 100), rng.randrange(11, 100)
    tens, ones = b - b % 10, b % 10
    return (
        f"What is {a} * {b}?",
        f"Split {b} into {tens} + {ones}. Then {a} * {tens} = {a * tens} and {a} * {ones} = {a * ones}. "
        f"Together that is {a * tens} + {a * ones} = {a * b}.",
    )


def linear(rng: random.Random) -> Problem:
    a, x, b = rng.randrange(2, 13), rng.randrange(-20, 21), rng.randrange(1, 60)
    right = a * x + b
    return (
        f"Solve {a} * x + {b} = {right}.",
        f"Subtract {b} on both sides: {a} * x = {right - b}. Divide by {a}: x = {x}. "
        f"Check: {a} * ({x}) + {b} = {right}.",
    )


def divisor(rng: random.Random) -> Problem:
    a, b = rng.randrange(20, 1000), rng.randrange(20, 1000)
    lines, x, y = [], max(a, b), min(a, b)
    while y:
        lines.append(f"{x} = {x // y} * {y} + {x % y}")
        x, y = y, x % y
    return (
        f"Find the greatest common divisor of {a} and {b}.",
        f"Use the algorithm of Euclid.\n{chr(10).join(lines)}\n"
        f"The last remainder that is not 0 is the answer: gcd({a}, {b}) = {x}.",
    )


def factors(rng: random.Random) -> Problem:
    n = rng.randrange(4, 3000)
    rest, d, parts = n, 2, []
    while d * d <= rest:
        while rest % d == 0:
            parts.append(d)
            rest //= d
        d += 1
    if rest > 1:
        parts.append(rest)
    if len(parts) == 1:
        limit = math.isqrt(n)
        answer = f"No prime up to {limit} divides {n}, and {limit + 1} * {limit + 1} > {n}. So {n} is a prime."
    else:
        answer = f"{n} = {' * '.join(map(str, parts))}. Each of these factors is a prime."
    return f"Write {n} as a product of primes.", answer


def quadratic(rng: random.Random) -> Problem:
    p, q = rng.randrange(-12, 13), rng.randrange(-12, 13)
    b, c = -(p + q), p * q
    root = abs(p - q)
    return (
        f"Solve x^2 + ({b}) * x + ({c}) = 0.",
        f"The discriminant is ({b})^2 - 4 * ({c}) = {b * b - 4 * c} = {root}^2. "
        f"Hence x = (-({b}) + {root}) / 2 = {max(p, q)} or x = (-({b}) - {root}) / 2 = {min(p, q)}.",
    )


def series(rng: random.Random) -> Problem:
    n = rng.randrange(5, 400)
    return (
        f"What is the sum of the whole numbers from 1 to {n}?",
        f"Pair the first with the last: n * (n + 1) / 2 = {n} * {n + 1} / 2 = {n * (n + 1) // 2}.",
    )


def power(rng: random.Random) -> Problem:
    a, e, m = rng.randrange(2, 30), rng.randrange(3, 12), rng.randrange(7, 100)
    lines, value = [], 1
    for i in range(1, e + 1):
        lines.append(f"{a}^{i} = {value} * {a} = {value * a} = {value * a % m} (mod {m})")
        value = value * a % m
    return (
        f"Find the remainder of {a}^{e} when it is divided by {m}.",
        "Multiply and reduce at every step.\n" + "\n".join(lines) + f"\nThe remainder is {value}.",
    )


KINDS = (addition, product, linear, divisor, factors, quadratic, series, power)


def worked_problems(rng: random.Random, count: int) -> list[Problem]:
    """`count` questions with their solutions, the kinds taken in turn."""
    return [KINDS[i % len(KINDS)](rng) for i in range(count)]
