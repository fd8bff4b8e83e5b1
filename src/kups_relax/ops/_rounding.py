"""Programs whose bits do not depend on what the compiler fuses.

A compiler may turn a*b + c into one fused multiply-add, which skips the rounding of a*b. It
decides that anew for every program: by shape, by neighbours, by device. That, and not the order
of sums, is why a structure in a batch differs from the same structure alone once sums are
written out. A compiler also simplifies: (a / b) / c to a / (b * c), x / 3 to x * (1 / 3),
exp(a) * exp(b) to exp(a + b). `rounded` rewrites a function so that nothing of that happens:
each result of +, -, *, / and sqrt is then the correctly rounded one, as NumPy gives it, in
whatever program it stands. What exp, sin and their like give is the compiler's own affair; it
may differ in the last bit between programs of different shapes.

How: the result's bit pattern is XOR-ed with an integer that is 0 for every number, and 1 for
NaN (which stays NaN). The compiler cannot know that it is 0, so nothing can be merged across
it. It costs three integer operations, which vectorise and fuse. `lax.optimization_barrier` and
`lax.reduce_precision` were tried: XLA removes both on CPU before code is generated. The barrier
still hides a divisor from the simplifications, which come first; it is used for no more, as it
would end a fusion on a GPU.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from kups_relax.ops._sums import fold

F = TypeVar("F", bound=Callable[..., Any])

_BITS = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}


def keep(x: jax.Array) -> jax.Array:
    """Return x, in a way that no compiler can look through. Floating arrays only."""
    bits = _BITS[x.dtype.itemsize]
    changed = lax.bitcast_convert_type(x, bits) ^ (x != x).astype(bits)
    return lax.bitcast_convert_type(changed, x.dtype)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a*b, rounded on its own. Not differentiable; differentiate first, then `rounded`."""
    return keep(a * b)


def root(x: jax.Array) -> jax.Array:
    """Return sqrt(x), so that a division by it stays one. Not differentiable."""
    return keep(jnp.sqrt(x))


def quotient(a: Any, b: Any) -> Any:
    """Return a / b, rounded correctly whatever is known of a and b. Not differentiable."""
    if not isinstance(a, jax.Array) and not isinstance(b, jax.Array):
        return a / b
    return keep(a / _hidden(b, jax.eval_shape(jnp.true_divide, a, b)))


def _hidden(divisor: Any, like: Any) -> jax.Array:
    """Broadcast a divisor, so that the compiler does not see that it holds few numbers."""
    return lax.optimization_barrier(jnp.broadcast_to(jnp.asarray(divisor, like.dtype), like.shape))


def rounded(function: F, *, ordered: bool = False) -> F:
    """Rewrite a function of arrays so that each operation is rounded on its own.

    The function is traced, and traced again with `keep` behind all that a compiler might merge
    with what follows, in loops and branches too. Apply it outermost, after differentiation and
    `jax.vmap`, just inside `jax.jit`. Products inside convolutions are out of reach, and without
    `ordered` those inside matrix multiplications.

    Args:
        function: Takes and returns pytrees of arrays. A product that stands outside, and whose
            value is passed in, is not covered: round it too, or compute it in here.
        ordered: Whether sums and matrix products are written out, by `fold`, so that their order
            is none of the compiler's business either. For code that is not ours; ours says
            `fold` itself.
    """

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        leaves, treedef = jax.tree.flatten(args)
        out_tree = None

        def flat(*leaves: Any) -> list[Any]:
            nonlocal out_tree
            out, out_tree = jax.tree.flatten(function(*jax.tree.unflatten(treedef, leaves)))
            return out

        closed = jax.make_jaxpr(flat)(*leaves)
        inputs = [_Value(jnp.asarray(leaf), False) for leaf in leaves]
        out = _evaluate(closed.jaxpr, closed.consts, inputs, ordered)
        assert out_tree is not None
        return jax.tree.unflatten(out_tree, [_closed(x) for x in out])

    return wrapper  # pyright: ignore[reportReturnType]


class _Value(NamedTuple):
    """A value, and what a compiler could do with it.

    Attributes:
        array: The value.
        few: Whether it holds few numbers, many times over: a constant, or a broadcast. Constants
            are folded, and a division by a broadcast becomes a product with its inverse.
        open: How it could still be merged with what comes next: a quotient ("div") with another
            division, a sum with a constant ("add") with another constant. `keep` closes it.
            Products are closed at once: nearly all of them are added to something.
    """

    array: Any
    few: bool
    open: frozenset[str] = frozenset()


def _closed(value: _Value, *kinds: str) -> Any:
    """The array, closed to being merged as any of these kinds (none given: as any)."""
    is_open = not value.open.isdisjoint(kinds) if kinds else bool(value.open)
    floating = jnp.issubdtype(jnp.result_type(value.array), jnp.floating)
    return keep(jnp.asarray(value.array)) if is_open and floating else value.array


def _evaluate(
    jaxpr: core.Jaxpr, consts: Any, args: Sequence[_Value], ordered: bool
) -> list[_Value]:
    values: dict[Any, _Value] = {}

    def read(atom: Any) -> _Value:
        return _Value(atom.val, True) if isinstance(atom, core.Literal) else values[atom]

    values.update(zip(jaxpr.constvars, [_Value(c, True) for c in consts], strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        out = _apply(equation, [read(atom) for atom in equation.invars], ordered)
        values.update(zip(equation.outvars, out, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, inputs: list[_Value], ordered: bool) -> list[_Value]:
    name = equation.primitive.name
    if name in _INLINED:
        inner = equation.params[_INLINED[name]]
        inner = inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
        return _evaluate(inner.jaxpr, inner.consts, inputs, ordered)
    few = name == "broadcast_in_dim" or all(x.few for x in inputs)
    if jnp.issubdtype(getattr(equation.outvars[0].aval, "dtype", jnp.int32), jnp.floating):
        if ordered and name in _SUMS:
            return [_Value(_SUMS[name](*[x.array for x in inputs], **equation.params), few)]
        out = _arithmetic(equation, inputs)
        if out is not None:
            return [_Value(out[0], few, out[1])]
    if name in _STORED:
        inputs = [x._replace(array=_closed(x), open=frozenset()) for x in inputs]
    params, still_open = dict(equation.params), frozenset[str]().union(*[x.open for x in inputs])
    args = [x.array for x in inputs]
    for key, value in params.items():
        bodies = value if isinstance(value, tuple) else (value,)
        if any(isinstance(body, core.ClosedJaxpr) for body in bodies):
            flags = _flags(name, key, params, inputs)
            bodies = tuple(_convert(body, flags, ordered) for body in bodies)
            params[key] = bodies if isinstance(value, tuple) else bodies[0]
            args, still_open = [_closed(x) for x in inputs], frozenset()
    out = equation.primitive.bind(*args, **params)
    out = out if equation.primitive.multiple_results else [out]
    return [_Value(x, few, still_open) for x in out]


def _arithmetic(equation: Any, inputs: list[_Value]) -> tuple[Any, frozenset[str]] | None:
    """One floating operation, and what its result is open to; None: it needs no care."""
    name, args = equation.primitive.name, [x.array for x in inputs]
    if name == "integer_pow":
        return _power(args[0], equation.params["y"]), frozenset()
    if name == "square":
        return product(args[0], args[0]), frozenset()
    if name == "log":
        # The logarithm of 1 + x is another function to the compiler.
        args = [_closed(x, "add") for x in inputs]
    if name in _KEPT:
        return keep(equation.primitive.bind(*args, **equation.params)), frozenset()
    if name == "div":
        a, b = (_closed(x, "div") for x in inputs)
        if inputs[1].few or jnp.shape(a) != jnp.shape(b):
            b = _hidden(b, equation.outvars[0].aval)
        return equation.primitive.bind(a, b, **equation.params), frozenset({"div"})
    if name in ("add", "sub"):
        constant = any(x.few for x in inputs)
        shifted = constant or all("add" in x.open for x in inputs)
        args = [_closed(x, "add") if shifted else x.array for x in inputs]
        out = equation.primitive.bind(*args, **equation.params)
        still_open = constant or any("add" in x.open for x in inputs)
        return out, frozenset({"add"}) if still_open else frozenset()
    return None


# Operations that compilers contract or merge: exp(a) * exp(b) is exp(a + b) to them.
_KEPT = frozenset({
    "mul", "sqrt", "rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p", "pow", "tanh",
    "logistic", "sinh", "cosh", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "asinh",
    "acosh", "atanh", "erf", "erfc", "erf_inv", "lgamma", "digamma",
})  # fmt: skip

# What writes into a part of an array. Closed before, or else a loop that fills an array would close
# all of it each time around.
_STORED = frozenset({"dynamic_update_slice", "scatter"})

# Calls whose body takes the call's own arguments, and which only mattered for differentiation.
_INLINED = {
    "pjit": "jaxpr",
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "linear_call": "callee",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


def _flags(name: str, key: str, params: dict[str, Any], inputs: list[_Value]) -> list[bool]:
    """Which arguments of a loop's or a branch's body hold few numbers: constants sink into it."""
    flags = [x.few for x in inputs]
    if name == "cond":
        return flags[1:]
    if name == "while":
        n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
        consts = flags[:n_cond] if key == "cond_jaxpr" else flags[n_cond : n_cond + n_body]
        return consts + flags[n_cond + n_body :]
    return flags


def _convert(closed: Any, few: list[bool], ordered: bool) -> Any:
    if not isinstance(closed, core.ClosedJaxpr):
        return closed
    few = few if len(few) == len(closed.jaxpr.invars) else [False] * len(closed.jaxpr.invars)

    def body(*args: Any) -> list[Any]:
        inputs = [_Value(*x) for x in zip(args, few, strict=True)]
        return [_closed(x) for x in _evaluate(closed.jaxpr, closed.consts, inputs, ordered)]

    arrays = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in closed.jaxpr.invars]
    return jax.make_jaxpr(body)(*arrays)


def _sum(x: jax.Array, *, axes: Sequence[int], **_: Any) -> jax.Array:
    """What `reduce_sum` gives, in the order of `fold`."""
    first = jnp.moveaxis(x, axes, range(len(axes)))
    n = len(axes)
    return fold(first.reshape(math.prod(first.shape[:n]), *first.shape[n:]))


def _matrix_product(
    a: jax.Array, b: jax.Array, *, dimension_numbers: Any, preferred_element_type: Any, **_: Any
) -> jax.Array:
    """What `dot_general` gives, each product rounded, in the order of `fold`."""
    (a_summed, b_summed), (a_batch, b_batch) = dimension_numbers
    # Summed axes first, then those of the batch, then what is left.
    n = len(a_summed) + len(a_batch)
    a = jnp.moveaxis(a, (*a_summed, *a_batch), range(n))
    b = jnp.moveaxis(b, (*b_summed, *b_batch), range(n))
    a = a.reshape(*a.shape, *(1,) * (b.ndim - n))
    b = b.reshape(*b.shape[:n], *(1,) * (a.ndim - b.ndim), *b.shape[n:])
    total = _sum(product(a, b), axes=range(len(a_summed)))
    return total if preferred_element_type is None else total.astype(preferred_element_type)


_SUMS = {"reduce_sum": _sum, "dot_general": _matrix_product}


def _power(x: jax.Array, exponent: int) -> jax.Array:
    """Integer power by squaring, each product rounded."""
    if exponent == 0:
        return jnp.ones_like(x)
    result, base, left = None, x, abs(exponent)
    while left:
        if left & 1:
            result = base if result is None else product(result, base)
        left >>= 1
        if left:
            base = product(base, base)
    assert result is not None
    return result if exponent > 0 else keep(1 / result)
