# mypy: disallow-untyped-defs=False, check-untyped-defs=False
"""Functions of two variables and their gradients, in the grammar of update rules.

``name_f(x, y)`` is the function, ``name_grad(x, y)`` its two partial derivatives, both elementwise on float64
arrays. What they are and where they come from stands in :mod:`dlopt.lab.landscapes`.
"""

from dlopt.engine.rule import xp


def quadratic_f(x, y, *, h):
    return (x * x + h * y * y) / 2


def quadratic_grad(x, y, *, h):
    return x, h * y


def ravine_f(x, y, *, h, c, s):
    u = c * x + s * y
    v = c * y - s * x
    return (u * u + h * v * v) / 2


def ravine_grad(x, y, *, h, c, s):
    u = c * x + s * y
    v = h * (c * y - s * x)
    return c * u - s * v, s * u + c * v


def rosenbrock_f(x, y):
    a = 1 - x
    b = y - x * x
    return a * a + 100 * b * b


def rosenbrock_grad(x, y):
    b = y - x * x
    return -2 * (1 - x) - 400 * x * b, 200 * b


def beale_f(x, y):
    a = 1.5 - x + x * y
    b = 2.25 - x + x * y * y
    c = 2.625 - x + x * y * y * y
    return a * a + b * b + c * c


def beale_grad(x, y):
    a = 1.5 - x + x * y
    b = 2.25 - x + x * y * y
    c = 2.625 - x + x * y * y * y
    gx = 2 * (a * (y - 1) + b * (y * y - 1) + c * (y * y * y - 1))
    return gx, 2 * x * (a + 2 * b * y + 3 * c * y * y)


def himmelblau_f(x, y):
    a = x * x + y - 11
    b = x + y * y - 7
    return a * a + b * b


def himmelblau_grad(x, y):
    a = x * x + y - 11
    b = x + y * y - 7
    return 4 * x * a + 2 * b, 2 * a + 4 * y * b


def booth_f(x, y):
    a = x + 2 * y - 7
    b = 2 * x + y - 5
    return a * a + b * b


def booth_grad(x, y):
    a = x + 2 * y - 7
    b = 2 * x + y - 5
    return 2 * a + 4 * b, 4 * a + 2 * b


def matyas_f(x, y):
    return 0.26 * (x * x + y * y) - 0.48 * x * y


def matyas_grad(x, y):
    return 0.52 * x - 0.48 * y, 0.52 * y - 0.48 * x


def goldstein_price_f(x, y):
    s = x + y + 1
    d = 2 * x - 3 * y
    p = 19 - 14 * x + 3 * x * x - 14 * y + 6 * x * y + 3 * y * y
    q = 18 - 32 * x + 12 * x * x + 48 * y - 36 * x * y + 27 * y * y
    return (1 + s * s * p) * (30 + d * d * q)


def goldstein_price_grad(x, y):
    s = x + y + 1
    d = 2 * x - 3 * y
    p = 19 - 14 * x + 3 * x * x - 14 * y + 6 * x * y + 3 * y * y
    q = 18 - 32 * x + 12 * x * x + 48 * y - 36 * x * y + 27 * y * y
    a = 1 + s * s * p
    b = 30 + d * d * q
    ga = 2 * s * p + s * s * (6 * x + 6 * y - 14)
    bx = 4 * d * q + d * d * (24 * x - 36 * y - 32)
    by = d * d * (54 * y - 36 * x + 48) - 6 * d * q
    return ga * b + a * bx, ga * b + a * by


def six_hump_camel_f(x, y):
    u = x * x
    v = y * y
    return u * (4 - 2.1 * u + u * u / 3) + x * y + 4 * v * (v - 1)


def six_hump_camel_grad(x, y):
    u = x * x
    return 2 * x * (4 - 4.2 * u + u * u) + y, x + 8 * y * (2 * y * y - 1)


def styblinski_tang_f(x, y):
    u = x * x
    v = y * y
    return (u * u - 16 * u + 5 * x + v * v - 16 * v + 5 * y) / 2


def styblinski_tang_grad(x, y):
    return 2 * x * x * x - 16 * x + 2.5, 2 * y * y * y - 16 * y + 2.5


def branin_f(x, y):
    a = y - 5.1 / (4 * xp.pi * xp.pi) * x * x + 5 / xp.pi * x - 6
    return a * a + 10 * (1 - 1 / (8 * xp.pi)) * xp.cos(x) + 10


def branin_grad(x, y):
    a = y - 5.1 / (4 * xp.pi * xp.pi) * x * x + 5 / xp.pi * x - 6
    slope = 5 / xp.pi - 5.1 / (2 * xp.pi * xp.pi) * x
    return 2 * a * slope - 10 * (1 - 1 / (8 * xp.pi)) * xp.sin(x), 2 * a


def rastrigin_f(x, y):
    return 20 + x * x + y * y - 10 * (xp.cos(2 * xp.pi * x) + xp.cos(2 * xp.pi * y))


def rastrigin_grad(x, y):
    return 2 * x + 20 * xp.pi * xp.sin(2 * xp.pi * x), 2 * y + 20 * xp.pi * xp.sin(2 * xp.pi * y)


def ackley_f(x, y):
    r = xp.sqrt((x * x + y * y) / 2)
    w = xp.exp((xp.cos(2 * xp.pi * x) + xp.cos(2 * xp.pi * y)) / 2)
    return 20 - 20 * xp.exp(-0.2 * r) + xp.exp(1.0) - w


def ackley_grad(x, y):
    r = xp.sqrt((x * x + y * y) / 2)
    w = xp.pi * xp.exp((xp.cos(2 * xp.pi * x) + xp.cos(2 * xp.pi * y)) / 2)
    k = xp.where(r > 0, 2 * xp.exp(-0.2 * r) / xp.where(r > 0, r, 1), 0)
    return k * x + w * xp.sin(2 * xp.pi * x), k * y + w * xp.sin(2 * xp.pi * y)


def saddle_f(x, y):
    return x * x - y * y


def saddle_grad(x, y):
    return 2 * x, -2 * y


def bounded_saddle_f(x, y):
    return x * x - y * y + y * y * y * y / 4


def bounded_saddle_grad(x, y):
    return 2 * x, y * y * y - 2 * y


def monkey_saddle_f(x, y):
    return x * x * x - 3 * x * y * y


def monkey_saddle_grad(x, y):
    return 3 * (x * x - y * y), -6 * x * y


def factorization_f(x, y):
    r = x * y - 1
    return r * r / 2


def factorization_grad(x, y):
    r = x * y - 1
    return r * y, r * x


def absolute_f(x, y):
    return xp.abs(x) + xp.abs(y)


def absolute_grad(x, y):
    return xp.sign(x), xp.sign(y)
