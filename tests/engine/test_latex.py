from dlopt.engine import xp
from dlopt.engine.faces.latex import latex


def adam(g, p, m, v, *, lr, beta1, beta2, eps, bias1, bias2):
    """Kingma & Ba 2015, algorithm 1."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / bias1
    v_hat = v / bias2
    return -lr * m_hat / (xp.sqrt(v_hat) + eps), m, v


def lion(g, p, m, *, lr, beta1, weight_decay):
    c = beta1 * m + (1 - beta1) * g
    return -lr * (xp.sign(c) + weight_decay * p), m


def test_adam_reads_as_in_the_paper():
    assert latex(adam).splitlines() == [
        r"\begin{aligned}",
        r"m_t &= \beta_1 m_{t-1} + \left(1 - \beta_1\right) g_t \\",
        r"v_t &= \beta_2 v_{t-1} + \left(1 - \beta_2\right) g_t^2 \\",
        r"\hat{m}_t &= \frac{m_t}{1 - \beta_1^t} \\",
        r"\hat{v}_t &= \frac{v_t}{1 - \beta_2^t} \\",
        r"\theta_t &= \theta_{t-1} - \frac{\gamma \hat{m}_t}{\sqrt{\hat{v}_t} + \varepsilon}",
        r"\end{aligned}",
    ]


def test_a_state_read_before_its_assignment_is_the_old_one():
    assert r"c_t &= \beta_1 m_{t-1}" in latex(lion)
    assert r"- \gamma \left(\operatorname{sign}\left(c_t\right) + \lambda \theta_{t-1}\right)" in latex(lion)


def indexed(g, p, m1, *, lr, beta1):
    m1 = beta1 * m1 + 1e-08 * g
    beta1 = beta1 * 0.123456789
    return -lr * m1 - -beta1 * p, m1


def powers(t, *, beta1):
    a = (beta1 / 2) ** t
    b = (beta1**t) ** 2
    c = (1 / t) * (1 / t)
    d = 3 * 2 * 2 * t
    return a, b, c, d


def helper(x, y, *, k):
    return k * x + y


def calling(g, p, *, lr):
    c = xp.where(g > 0, g, p) * p
    k = 2 * lr
    return helper(-g, c, k=lr) + helper(g, p, k=k)


def test_indices_powers_calls_and_cases():
    lines = latex(indexed).splitlines()
    assert lines[1] == r"m_{1,t} &= \beta_1 m_{1,t-1} + 10^{-8} \, g_t \\".replace(r" \, ", " ")
    assert lines[2] == r"\beta_1 &= \beta_1 \cdot 0.123456789 \\"
    assert lines[3].endswith(r"- \gamma m_{1,t} - \left(-\beta_1 \theta_{t-1}\right)")
    lines = latex(calling, scalars=powers).splitlines()
    assert lines[1] == r"a &= \left(\frac{\beta_1}{2}\right)^{t} \\"
    assert lines[2] == r"b &= \left(\beta_1^{t}\right)^{2} \\"
    assert lines[3] == r"c &= \left(\frac{1}{t}\right)^2 \\"
    assert lines[4] == r"d &= 3 \cdot 2 \cdot 2 t \\"
    assert lines[5].startswith(r"c_t &= \left(\begin{cases} g_t & g_t > 0") and lines[5].endswith(
        r"\right) \theta_{t-1} \\"
    )
    assert r"\operatorname{helper}\left(-g_t,\, c_t,\, k = \gamma\right) + \operatorname{helper}" in lines[7]


def nested(g, p, *, lr):
    a = g - (p - lr)
    b = (g + p) * (g - p) / (lr * g)
    c = xp.where(g > 0, xp.maximum(g, -p), xp.abs(p))
    return -(a + b) * c


def test_brackets_where_arithmetic_needs_them():
    lines = latex(nested).splitlines()
    assert lines[1] == r"a_t &= g_t - \left(\theta_{t-1} - \gamma\right) \\"
    assert lines[2].startswith(
        r"b_t &= \frac{\left(g_t + \theta_{t-1}\right) \left(g_t - \theta_{t-1}\right)}{\gamma g_t}"
    )
    assert r"\max\left(g_t,\, -\theta_{t-1}\right) & g_t > 0" in lines[3]
    assert lines[4] == r"\theta_t &= \theta_{t-1} - \left(a_t + b_t\right) c_t"


def staircase(t, *, steps, gamma, start_factor):
    late = t - steps
    scale = start_factor * gamma ** xp.floor(late / steps)
    return scale


def test_a_function_of_the_step_is_its_assignments():
    assert latex(staircase).splitlines() == [
        r"\begin{aligned}",
        r"\mathrm{late} &= t - T \\",
        r"s_t &= \mathrm{start\ factor} \, \mathrm{gamma}^{\left\lfloor \frac{\mathrm{late}}{T} \right\rfloor}",
        r"\end{aligned}",
    ]
