"""Optax's optimizers, by name and as objects: theirs on one system, exact on many, or refused."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kups_relax as kr
from helpers import DTYPES, argon, argon_clusters, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.ase import JaxCalculator, Optimizer
from kups_relax.data import Index
from kups_relax.errors import OptionError
from support.crossing import first, in_turns

# Optax's operations, each rounded on its own: products that optax's program contracts with
# additions differ in the last place, and so do sums.
LAST_PLACES = 1e-12

DIRECT = {
    "adam:learning-rate=0.02": optax.adam(0.02),
    "adam:learning-rate=0.02,b1=0.8,nesterov=true": optax.adam(0.02, b1=0.8, nesterov=True),
    "adamw:learning-rate=0.02,weight-decay=0.01": optax.adamw(0.02, weight_decay=0.01),
    "adabelief:learning-rate=0.02,nesterov=true": optax.adabelief(0.02, nesterov=True),
    "optimistic-adam-v2:learning-rate=0.01,alpha=0.5,beta=0.7": optax.optimistic_adam_v2(
        0.01, alpha=0.5, beta=0.7
    ),
    "rmsprop:learning-rate=0.01,decay=0.8,momentum=0.5": optax.rmsprop(
        0.01, decay=0.8, momentum=0.5
    ),
    "sgd:learning-rate=0.002,momentum=0.5,nesterov=true": optax.sgd(
        0.002, momentum=0.5, nesterov=True
    ),
    "lion:learning-rate=0.01": optax.lion(0.01),
}

GLOBAL = {
    "norm": optax.clip_by_global_norm(0.5),
    "norm of a chain": optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(0.1)),
    "normalized": optax.normalize_by_update_norm(),
    "lamb": optax.lamb(0.01),
    "lars": optax.lars(0.01),
    "noise": optax.noisy_sgd(0.01, key=0),
    "adaptive clipping": optax.adaptive_grad_clip(0.1),
    "if all are finite": optax.apply_if_finite(optax.sgd(0.1), 3),
    "novograd": optax.novograd(0.01),
    "factored": optax.adafactor(0.01),
    "rows and columns": optax.sm3(0.01),
}


def walk(optimizer, x, stiffness, n_updates=10, index=None):
    x = jnp.asarray(x)
    state = optimizer.init(x) if index is None else optimizer.init(x, index)
    for _ in range(n_updates):
        slope = jnp.asarray(stiffness * np.asarray(x))
        updates, state = optimizer.update(slope, state, x)
        x = ko.apply_updates(x, updates)
    return np.asarray(x)


def start(shape=(5, 3)):
    random = np.random.default_rng(0)
    return random.normal(size=shape), random.uniform(0.5, 20, size=shape)


@pytest.mark.parametrize("name", DIRECT)
def test_a_name_is_optax_on_each_system(name, x64):
    x, stiffness = start()
    # None of these steps reaches the bound.
    np.testing.assert_allclose(
        walk(ko.get(name), x, stiffness),
        walk(DIRECT[name], x, stiffness),
        rtol=LAST_PLACES,
        atol=LAST_PLACES,
    )


def test_weight_decay_of_adabelief_pulls_to_the_origin(x64):
    x, _ = start()
    decayed = walk(ko.get("adabelief:learning-rate=0.1,weight-decay=0.1"), x, 0.0)
    np.testing.assert_allclose(decayed, x * 0.99**10, rtol=1e-12)


def test_names_are_bounded_and_objects_are_not():
    x = jnp.zeros((2, 3))
    steep = jnp.full((2, 3), 100.0)
    named, plain = ko.get("sgd:learning-rate=0.1"), ko.get(optax.sgd(0.1))
    step, _ = named.update(steep, named.init(x), x)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), 0.2, rtol=1e-6)
    step, _ = plain.update(steep, plain.init(x), x)
    np.testing.assert_allclose(step, -10.0)


def test_names_with_equal_options_are_equal_values():
    assert ko.get("adam:b1=0.8") == ko.get("adam:b1=0.8")
    assert hash(ko.get("adam:b1=0.8")) == hash(ko.get("adam:b1=0.8"))
    assert ko.get("adam:b1=0.8") != ko.get("adam")
    # What a store compares when it is resumed.
    assert " at 0x" not in repr(ko.get("adam"))


@pytest.mark.parametrize("name", GLOBAL)
def test_what_mixes_rows_is_refused_for_rows_and_names_the_way_out(name):
    transform, x = ko.get(GLOBAL[name]), jnp.ones((4, 3))
    with pytest.raises(OptionError, match=r"mixes the systems of an Index.*ClipByGlobalNorm"):
        transform.init(x, Index.integer([0, 1, 0, 1]))
    # One system is no mixture.
    transform.init(x)
    transform.init(x, Index.integer([0, 0, 0, 0]))


def test_elementwise_ones_are_taken_for_rows():
    x = jnp.ones((4, 3))
    for transformation in (
        optax.clip(0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.1)),
        optax.sgd(optax.exponential_decay(0.1, 5, 0.5)),
        optax.zero_nans(),
    ):
        ko.get(transformation).init(x, Index.integer([0, 1, 0, 1]))


def test_asking_while_tracing_costs_nothing_but_time():
    x, index = jnp.ones((4, 3)), Index.integer([0, 1, 0, 1])
    transform = ko.get(optax.adam(0.123))

    @jax.jit
    def step(x):
        return transform.update(x, transform.init(x, index), x)[0]

    assert np.asarray(step(x)).shape == (4, 3)


@pytest.mark.parametrize(("name", "dtype"), in_turns(GLOBAL, DTYPES))
def test_lanes_have_norms_of_their_own_in_a_fixed_order(name, dtype):
    """The same lane, among others and as the only one of a tile: another program."""
    random = np.random.default_rng(1)
    x = random.normal(size=(3, 37, 5)).astype(dtype)
    stiffness = random.uniform(0.5, 20, size=x.shape).astype(dtype)
    transform = ko.chain(GLOBAL[name], ko.MaxStepSize(0.1))
    with jax.enable_x64(dtype == "float64"):
        together = walk(transform, x, stiffness, 6, ko.Lanes(n=5))
        for lane in (0, 4):
            one = slice(lane, lane + 1)
            alone = walk(transform, x[..., one], stiffness[..., one], 6, ko.Lanes(n=1))
            # XLA's functions of float32 may differ between shapes, as may those of random numbers.
            if dtype == "float64" and name != "noise":
                assert_same_bits(together[..., one], alone)
            others = np.where(np.arange(5) == lane, x, x[..., ::-1] * np.asarray(9, dtype))
            mixed = walk(transform, others, stiffness, 6, ko.Lanes(n=5))
            assert_same_bits(mixed[..., one], together[..., one])


@pytest.mark.exact
@pytest.mark.parametrize("dtype", first(DTYPES[::-1]))
def test_structures_relaxed_by_an_object_that_mixes_are_exact(dtype):
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0, momentum=0.9))
    options = {"optimizer": optimizer, "dtype": dtype, "fmax": 0.02, "max_steps": 30}
    assert kr.verify(argon_clusters([3, 8, 5, 2]), argon(), draws=3, **options).ok


def test_the_line_search_of_optax_works_on_one_system(x64):
    x, stiffness = start()
    x, stiffness = jnp.asarray(x), jnp.asarray(stiffness)

    def value_fn(x):
        return jnp.sum(stiffness * x * x) / 2 + jnp.sum(jnp.cos(x))

    def step(optimizer, x, state):
        value, slope = jax.value_and_grad(value_fn)(x)
        updates, state = optimizer.update(
            slope, state, x, value=value, grad=slope, value_fn=value_fn
        )
        return optax.apply_updates(x, updates), state

    walks = []
    for optimizer in (ko.chain(optax.lbfgs(memory_size=3)), optax.lbfgs(memory_size=3)):
        here, state = x, optimizer.init(x)
        compiled = jax.jit(functools.partial(step, optimizer))
        for _ in range(8):
            here, state = compiled(here, state)
        walks.append(here)
    np.testing.assert_allclose(*walks, rtol=1e-6, atol=1e-8)
    slopes = [float(jnp.linalg.norm(jax.grad(value_fn)(there))) for there in (x, walks[0])]
    assert slopes[1] < 0.05 * slopes[0]


def test_the_line_search_of_optax_is_refused_for_many():
    for refused in (
        lambda: kr.relax(argon_clusters([3]), argon(), optax.lbfgs()),
        lambda: ko.get(optax.lbfgs()).init(jnp.ones((2, 3)), Index.integer([0, 1])),
    ):
        with pytest.raises(OptionError, match=r"asks for more than gradients.*use 'lbfgs'"):
            refused()
    with pytest.raises(OptionError, match=r"searches lines by calling.*optax\.lbfgs\(\)"):
        ko.get("optax-lbfgs")


def test_values_are_passed_on_to_those_who_take_them():
    x = jnp.ones((3, 4, 2))
    polyak = ko.get(optax.polyak_sgd())
    slope = jnp.full_like(x, 2.0)
    value = jnp.array([1.0, 5.0])
    step, _ = polyak.update(slope, polyak.init(x, ko.Lanes(n=2)), x, value=value)
    for lane in range(2):
        theirs = optax.polyak_sgd()
        one = x[..., lane]
        expected, _ = theirs.update(
            slope[..., lane], theirs.init(one), one, value=float(value[lane])
        )
        np.testing.assert_allclose(step[..., lane], expected, rtol=1e-6)
    assert polyak.needs_value
    assert not ko.get(optax.sgd(0.1)).needs_value
    # A value that is nobody's business changes nothing.
    adam = ko.get("adam")
    state = adam.init(x, ko.Lanes(n=2))
    assert_same_bits(adam.update(slope, state, x, value=value), adam.update(slope, state, x))


def test_those_who_need_values_relax_structures_and_under_ase():
    clusters = argon_clusters([3, 5])
    polyak = ko.chain(optax.polyak_sgd(max_learning_rate=0.02, f_min=-0.2), ko.MaxStepSize(0.1))
    for optimizer in (polyak, "fire:downhill-check=true"):
        start = kr.relax(clusters, argon(), optimizer, max_steps=0).energy
        assert (kr.relax(clusters, argon(), optimizer, max_steps=20).energy < start).all()
        atoms = clusters[0].copy()
        atoms.calc = JaxCalculator(argon())
        Optimizer(atoms, optimizer, logfile=None).run(fmax=1e-3, steps=20)
        assert atoms.get_potential_energy() < start[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fire:dt", r"fire has no option 'dt'; expected key=value with one of dt, maxstep, dtmax"),
        ("fire:speed=3", "fire has no option 'speed=3'"),
        ("fire:nmin=2.5", "fire: nmin is '2.5'; expected a whole number"),
        ("fire:dt=fast", "fire: dt is 'fast'; expected a number"),
        ("fire2:use-abc=1", "fire2: use-abc is '1'; expected true or false"),
        ("fire:dt=-1", "dt is -1.0; it must be"),
        ("adam:mask=1", "adam has no option 'mask=1'; expected key=value with one of learning-rat"),
        ("ase-lbfgs:alpha=1", "ase-lbfgs has no option"),
        ("lbfgs:memory-size=few", "lbfgs: memory-size is 'few'; expected a whole number"),
        ("lbfgs:linesearch=exact", "linesearch is 'exact'; expected None, one of backtracking"),
        ("lbfgs:clip-norm=small", "clip-norm is 'small'; expected a number or none"),
        ("firee", "no optimizer 'firee'; expected one of lbfgs"),
        ("conjugate-gradient:beta=best", "beta is 'best'; expected 'hybrid' or"),
    ],
)
def test_options_that_do_not_exist_are_refused(text, message):
    with pytest.raises(OptionError, match=message):
        ko.get(text)


@pytest.mark.parametrize(
    "transformation",
    [
        optax.lookahead(optax.sgd(0.1), 5, 0.5),
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
        optax.GradientTransformation(lambda params: (), lambda *_: (None, ())),
        optax.sgd(lambda: 0.1),  # pyright: ignore
    ],
    ids=["lookahead", "sam", "nothing", "schedule"],
)
def test_what_makes_no_steps_of_gradients_is_refused_in_words(transformation):
    with pytest.raises(OptionError, match=r" makes no steps.*'lbfgs' "):
        ko.check_batched(ko.get(transformation))


def test_options_are_typed_by_their_defaults():
    assert ko.get("fire:dt=0.05,maxstep=0.1,nmin=7") == ko.Fire(dt=0.05, maxstep=0.1, nmin=7)
    assert ko.get("fire2:use_abc=true") == ko.Fire2(use_abc=True) == ko.get("abc-fire")
    assert ko.get("lbfgs:memory-size=32,linesearch=zoom") == ko.get("lbfgs-zoom:memory-size=32")
    assert ko.get("lbfgs:learning-rate=0.5,clip-norm=none") == ko.lbfgs(learning_rate=0.5)
    assert ko.get("sgd:momentum=none,max-step-size=0.5") == ko.chain(
        *ko.get("sgd:momentum=none").transforms[:1], ko.MaxStepSize(0.5)
    )


def test_every_name_documents_its_options():
    for maker in ko.NAMED.values():
        for parameter in inspect.signature(maker).parameters.values():
            assert parameter.default is not parameter.empty
